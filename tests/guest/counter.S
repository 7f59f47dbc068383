# The test guest: a disk that boots into a counter, in well under a second, without an operating
# system.
#
#   every BIOS tick (18.2 Hz):
#     read the stamp of each disk  ->  print "M=mmmmmmmm D0=dddddddd D1=dddddddd"
#     write here and there in the painted memory, if there is any
#     M += 1                           (M lives in RAM only)
#     write M to each disk             (a history slot, then the stamp)
#
# The stamps are read *before* the next one is written, so a line whose numbers differ proves
# that memory and disks are not of the same instant. The whole content of a disk is a function
# of M: history slot n holds the largest M that was stamped with M mod 64 = n, each in a qcow2
# cluster of its own, so that layers of a chain hold different clusters and a wrong merge shows.
#
# At boot: "BOOT D0=... D1=...", and M goes on from D0.
# Keys on the serial port: q powers off, r resets. The ACPI power button powers off.
#
# Real mode; `make guest` assembles it into counter.bin, which is kept in the tree for machines
# without binutils (a test compares the two where there is an assembler).

        .code16
        .globl _start
        .set    COM1, 0x3f8
        .set    TICK, 0x46c             # BIOS data area: timer ticks since midnight
        .set    DISKS, 0x475            # BIOS data area: number of hard disks
        .set    PM1_STS, 0x600          # where SeaBIOS puts the ACPI registers on pc and q35
        .set    PM1_EN, 0x602
        .set    PM1_CNT, 0x604
        .set    PWRBTN, 0x100
        .set    SLP_EN, 0x2000          # SLP_TYP 0 is S5 in QEMU

        .set    STAMP_LBA, 64
        .set    SLOT_LBA, 1024          # history slot n is at SLOT_LBA + 128 * n
        .set    SLOTS, 64
        .set    BUFFER, 0x9000

_start: ljmp    $0, $main

        .org    0x10
        # The harness writes here how many MiB of memory to fill at boot (0: none).
paint_mib:
        .long   0

main:   cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        sti
        cld
        # the other three sectors of this program
        movb    %dl, drive
        movl    $1, packet_lba
        movw    $3, packet_count
        movw    $_start + 512, packet_buffer
        movb    $0x42, %ah
        movw    $packet, %si
        int     $0x13
        movw    $1, packet_count
        movw    $BUFFER, packet_buffer
        jmp     start

packet: .byte   16, 0
packet_count:
        .word   1
packet_buffer:
        .word   BUFFER, 0
packet_lba:
        .long   0, 0
drive:  .byte   0
disks:  .byte   0
tick:   .byte   0
        .balign 4
memory: .long   0                       # M
stamps: .fill   8, 4, 0                 # the stamps as last read

        .org    510
        .word   0xaa55

start:  movw    $COM1 + 1, %dx          # no interrupts from the port, we poll
        xorb    %al, %al
        outb    %al, %dx
        movb    DISKS, %al
        cmpb    $8, %al
        jbe     1f
        movb    $8, %al
1:      movb    %al, disks
        movw    $PM1_EN, %dx            # without the enable bit QEMU does not show the button
        movw    $PWRBTN, %ax
        outw    %ax, %dx
        call    paint
        call    read_stamps
        movl    stamps, %eax
        movl    %eax, memory
        movw    $text_boot, %si
        call    print
        call    print_stamps
        call    stamp                   # a kill may have left the second disk one behind

loop:   movw    $COM1 + 5, %dx          # a key?
        inb     %dx, %al
        testb   $1, %al
        jz      1f
        movw    $COM1, %dx
        inb     %dx, %al
        cmpb    $'q', %al
        je      off
        cmpb    $'r', %al
        je      reset
1:      movw    $PM1_STS, %dx           # the power button?
        inw     %dx, %ax
        testw   $PWRBTN, %ax
        jnz     off
        movb    TICK, %al               # the next tick?
        cmpb    tick, %al
        jne     1f
        hlt
        jmp     loop
1:      movb    %al, tick
        call    read_stamps
        movw    $text_memory, %si
        call    print
        movl    memory, %eax
        call    print_hex
        movb    $' ', %al
        call    print_char
        call    print_stamps
        call    touch
        incl    memory
        call    stamp
        jmp     loop

off:    movw    $text_off, %si
        call    print
        movw    $PM1_CNT, %dx
        movw    $SLP_EN, %ax
        outw    %ax, %dx
1:      hlt
        jmp     1b

reset:  movw    $text_reset, %si
        call    print
        movw    $0xcf9, %dx
        movb    $2, %al
        outb    %al, %dx
        movb    $6, %al
        outb    %al, %dx
1:      hlt
        jmp     1b

# Every disk: M into its history slot, then into the stamp.
stamp:  xorw    %cx, %cx
1:      cmpb    disks, %cl
        jae     2f
        movl    memory, %eax
        movl    %eax, BUFFER
        andl    $SLOTS - 1, %eax
        shll    $7, %eax
        addl    $SLOT_LBA, %eax
        movb    $0x43, %bh
        call    transfer
        movl    $STAMP_LBA, %eax
        call    transfer
        incw    %cx
        jmp     1b
2:      ret

read_stamps:
        xorw    %cx, %cx
1:      cmpb    disks, %cl
        jae     2f
        movl    $STAMP_LBA, %eax
        movb    $0x42, %bh
        call    transfer
        movw    %cx, %di
        shlw    $2, %di
        movl    BUFFER, %eax
        movl    %eax, stamps(%di)
        incw    %cx
        jmp     1b
2:      ret

# One sector of disk %cl at %eax; %bh: 0x42 read, 0x43 write. An error is printed.
transfer:
        pushaw
        movl    %eax, packet_lba
        movb    %cl, %dl
        addb    $0x80, %dl
        movb    %bh, %ah
        xorb    %al, %al
        movw    $packet, %si
        int     $0x13
        jnc     1f
        movw    $text_error, %si
        call    print
1:      popaw
        ret

# "D0=dddddddd D1=dddddddd\r\n"
print_stamps:
        xorw    %cx, %cx
1:      cmpb    disks, %cl
        jae     3f
        testw   %cx, %cx
        jz      2f
        movb    $' ', %al
        call    print_char
2:      movb    $'D', %al
        call    print_char
        movb    %cl, %al
        addb    $'0', %al
        call    print_char
        movb    $'=', %al
        call    print_char
        movw    %cx, %di
        shlw    $2, %di
        movl    stamps(%di), %eax
        call    print_hex
        incw    %cx
        jmp     1b
3:      movw    $text_end, %si
        # falls through

print:  lodsb
        testb   %al, %al
        jz      1f
        call    print_char
        jmp     print
1:      ret

print_hex:
        pushw   %cx
        movw    $8, %cx
1:      roll    $4, %eax
        pushl   %eax
        andb    $15, %al
        addb    $'0', %al
        cmpb    $'9', %al
        jbe     2f
        addb    $'a' - '9' - 1, %al
2:      call    print_char
        popl    %eax
        loop    1b
        popw    %cx
        ret

print_char:
        pushw   %dx
        pushw   %ax
        movw    $COM1 + 5, %dx
1:      inb     %dx, %al
        testb   $0x20, %al
        jz      1b
        popw    %ax
        movw    $COM1, %dx
        outb    %al, %dx
        popw    %dx
        ret

# Fill the memory from 1 MiB to paint_mib with words that are not zero and not the same on any
# two pages.
paint:  movl    paint_mib, %ecx
        cmpl    $1, %ecx
        jbe     2f
        cli                             # a data segment that reaches all of it
        lgdt    gdt_pointer
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        movw    $8, %bx
        movw    %bx, %fs                # its limit outlives the way back to real mode
        andb    $0xfe, %al
        movl    %eax, %cr0
        sti
        movw    $0x92, %dx              # the A20 gate
        inb     %dx, %al
        orb     $2, %al
        andb    $0xfe, %al
        outb    %al, %dx
        decl    %ecx
        shll    $18, %ecx               # words
        movl    $0x100000, %edi
        movl    $0x9e3779b9, %eax
1:      addr32 movl %eax, %fs:(%edi)
        addl    $0x9e3779b9, %eax
        addl    $4, %edi
        decl    %ecx
        jnz     1b
        movw    $text_painted, %si
        call    print
2:      ret

# 64 writes all over the painted memory, so that a save of it has something to track.
touch:  movl    paint_mib, %ecx
        decl    %ecx
        jle     2f
        shll    $20, %ecx
        movw    $64, %bp
1:      movl    seed, %eax
        imull   $1664525, %eax, %eax
        addl    $1013904223, %eax
        movl    %eax, seed
        xorl    %edx, %edx
        divl    %ecx
        andb    $0xfc, %dl
        addl    $0x100000, %edx
        addr32 incl %fs:(%edx)
        decw    %bp
        jnz     1b
2:      ret

        .balign 8
seed:   .long   1
        .balign 8
gdt:    .quad   0
        .quad   0x00cf92000000ffff      # data, 4 GiB
gdt_pointer:
        .word   15
        .long   gdt

text_boot:
        .asciz  "BOOT "
text_memory:
        .asciz  "M="
text_end:
        .asciz  "\r\n"
text_error:
        .asciz  "DISK-ERROR\r\n"
text_off:
        .asciz  "OFF\r\n"
text_reset:
        .asciz  "RESET\r\n"
text_painted:
        .asciz  "PAINTED\r\n"

        .org    2048
