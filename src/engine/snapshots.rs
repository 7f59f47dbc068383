//! The snapshot calls: read the request, look, plan, run.

use super::domain::{Domain, State};
use super::foresee::Outlook;
use super::service::{Inner, Service};
use crate::error::{Code, Error, Result};
use crate::model::flags::{self, CreateFlags, DeleteFlags, ListFlags, RevertFlags};
use crate::model::ids::{DomainId, Instance, SnapshotName};
use crate::model::snapshot::Memory;
use crate::model::tree::Tree;
use crate::plan::create::{self, CreateRequest, Planned};
use crate::plan::delete::{self, DeleteRequest};
use crate::plan::facts::Backends;
use crate::plan::graph::Graph;
use crate::plan::redefine::{self, RedefineRequest};
use crate::plan::refusal::Refusal;
use crate::plan::revert::{self, RevertRequest};
use crate::plan::steps::{Change, Plan};
use crate::xml;
use crate::xml::scan::Limits;
use crate::xml::snapshot::{Form, SnapshotDoc};
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

impl Service {
    /// `virDomainSnapshotCreateXML`.
    pub async fn snapshot_create(&self, id: DomainId, xml: &str, flags: u32) -> Result<SnapshotName> {
        let flags = create::check_flags(flags)?;
        let domain = self.inner.domain(id)?;
        if flags.contains(CreateFlags::REDEFINE) {
            return self.redefine(&domain, xml, flags).await;
        }
        let _slot = domain.slot("snapshot create").await?;
        self.inner.finish_open_ops(&domain).await?;
        let planned = self.inner.plan_create(&Outlook::now(&domain), xml, flags).await?;
        let done = self.inner.run(&domain, planned.plan).await;
        self.inner.reap_transient(&domain);
        done.map(|()| planned.name)
    }

    pub(super) async fn redefine(&self, domain: &Arc<Domain>, xml: &str, flags: CreateFlags) -> Result<SnapshotName> {
        let _slot = domain.slot("snapshot redefine").await?;
        self.inner.finish_open_ops(domain).await?;
        let (name, change) = self.inner.plan_redefine(&Outlook::now(domain), xml, flags).await?;
        self.inner.apply(domain, &change).await?;
        Ok(name)
    }

    /// `virDomainRevertToSnapshot`.
    pub async fn snapshot_revert(&self, id: DomainId, name: &SnapshotName, flags: u32) -> Result<()> {
        let flags = revert::check_flags(flags)?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("snapshot revert").await?;
        self.inner.finish_open_ops(&domain).await?;
        let plan = self.inner.plan_revert(&Outlook::now(&domain), name, flags).await?;
        let done = self.inner.run(&domain, plan).await;
        self.inner.reap_transient(&domain);
        done
    }

    /// `virDomainSnapshotDelete`.
    pub async fn snapshot_delete(&self, id: DomainId, name: &SnapshotName, flags: u32) -> Result<()> {
        let flags = delete::check_flags(flags)?;
        let domain = self.inner.domain(id)?;
        let _slot = domain.slot("snapshot delete").await?;
        self.inner.finish_open_ops(&domain).await?;
        let tree = domain.state().tree;
        if tree.get(name).is_none() {
            // The open operation that has just ended may have been this very call's.
            return existing(&tree, name).map(drop);
        }
        let mut done = Ok(());
        for one in delete::order(&tree, name, flags) {
            done = self.delete_one(&domain, &one, flags).await;
            // What failed may be half done: nothing is planned over it.
            if done.is_err() {
                break;
            }
        }
        self.inner.reap_transient(&domain);
        done
    }

    async fn delete_one(&self, domain: &Arc<Domain>, name: &SnapshotName, flags: DeleteFlags) -> Result<()> {
        if flags.contains(DeleteFlags::METADATA_ONLY) {
            let change = delete::forget(&domain.state().tree, name);
            return self.inner.apply(domain, &change).await;
        }
        let plan = self.inner.plan_delete(&Outlook::now(domain), name).await?;
        self.inner.run(domain, plan).await
    }

    /// `virDomainListAllSnapshots` (`of` = `None`) and `virDomainSnapshotListAllChildren`.
    pub fn snapshot_list(&self, id: DomainId, of: Option<&SnapshotName>, flags: u32) -> Result<Vec<SnapshotName>> {
        let view = self.view(id)?;
        let call = if of.is_some() { "qemuDomainSnapshotListAllChildren" } else { "qemuDomainListAllSnapshots" };
        let flags = ListFlags::parse(flags, call)?;
        if let Some(name) = of {
            existing(&view.tree, name)?;
        }
        Ok(view.tree.list(of, flags))
    }

    /// `virDomainSnapshotLookupByName`.
    pub fn snapshot_lookup(&self, id: DomainId, name: &str, flags: u32) -> Result<SnapshotName> {
        let view = self.view(id)?;
        flags::none(flags, "qemuDomainSnapshotLookupByName")?;
        existing(&view.tree, &name.into()).map(|()| name.into())
    }

    /// `virDomainSnapshotCurrent`.
    pub fn snapshot_current(&self, id: DomainId, flags: u32) -> Result<SnapshotName> {
        let view = self.view(id)?;
        flags::none(flags, "qemuDomainSnapshotCurrent")?;
        view.tree.current().cloned().ok_or_else(|| Refusal::NoCurrent.into())
    }

    /// `virDomainSnapshotGetParent`; a parent that does not exist is none (K33).
    pub fn snapshot_parent(&self, id: DomainId, name: &SnapshotName, flags: u32) -> Result<SnapshotName> {
        let view = self.view(id)?;
        flags::none(flags, "qemuDomainSnapshotGetParent")?;
        existing(&view.tree, name)?;
        view.tree.parent(name).ok_or_else(|| Refusal::NoParent(name.0.clone()).into())
    }

    /// `virDomainSnapshotIsCurrent`.
    pub fn snapshot_is_current(&self, id: DomainId, name: &SnapshotName, flags: u32) -> Result<bool> {
        let view = self.view(id)?;
        flags::none(flags, "qemuDomainSnapshotIsCurrent")?;
        existing(&view.tree, name)?;
        Ok(view.tree.current() == Some(name))
    }

    /// `virDomainSnapshotGetXMLDesc`.
    pub fn snapshot_xml(&self, id: DomainId, name: &SnapshotName, flags: u32) -> Result<String> {
        const SECURE: u32 = 1;
        let view = self.view(id)?;
        flags::none(flags & !SECURE, "qemuDomainSnapshotGetXMLDesc")?;
        let Some(snapshot) = view.tree.get(name) else { return Err(Refusal::NoSnapshot(name.0.clone()).into()) };
        let texts = self.inner.store.texts(id, name)?;
        Ok(xml::snapshot::format(snapshot, &texts, flags & SECURE != 0))
    }
}

/// The caller's document, validated where VALIDATE asks for it.
fn read(xml: &str, form: Form, flags: CreateFlags) -> Result<SnapshotDoc> {
    if flags.contains(CreateFlags::VALIDATE) {
        xml::schema::check_snapshot(xml)?;
    }
    xml::snapshot::parse(xml, form, &Limits::default())
}

pub(super) fn existing(tree: &Tree, name: &SnapshotName) -> Result<()> {
    if tree.get(name).is_some() { Ok(()) } else { Err(Error::from(Refusal::NoSnapshot(name.0.clone()))) }
}

/// What a planner must know of files besides the domain's own tree.
pub(super) struct Surroundings {
    current: Vec<(crate::model::ids::DiskTarget, crate::model::ids::Image)>,
    owned: BTreeSet<Utf8PathBuf>,
    others: HashSet<Utf8PathBuf>,
    /// What the other domains that run write to, and which of them does.
    busy: HashMap<Utf8PathBuf, String>,
}

impl Surroundings {
    pub(super) fn foreign(&self) -> impl Fn(&Utf8Path) -> bool + Send + Sync + '_ {
        |path| self.others.contains(path)
    }

    pub(super) fn graph<'a>(
        &'a self,
        state: &'a State,
        foreign: &'a (dyn Fn(&Utf8Path) -> bool + Send + Sync),
    ) -> Graph<'a> {
        Graph { tree: &state.tree, current: &self.current, foreign, owned: &self.owned }
    }
}

impl Inner {
    pub(super) async fn plan_redefine(
        &self,
        outlook: &Outlook,
        xml: &str,
        flags: CreateFlags,
    ) -> Result<(SnapshotName, Change)> {
        let doc = read(xml, Form::Redefine, flags)?;
        let state = &outlook.state;
        let texts = |name: &SnapshotName| self.texts_of(outlook, name);
        let side = self.side_of(state.row.id, doc.texts.domain.as_deref()).await?;
        let facts = self.look_at(outlook, &redefine::paths(&doc, &side)?).await?;
        let request = RedefineRequest {
            domain: state.row.id,
            tree: &state.tree,
            flags,
            caps: self.host.capabilities(),
            transient: state.live_xml().filter(|_| !state.row.persistent),
            side: &side,
            facts: &facts,
            texts: &texts,
        };
        redefine::plan(&request, doc)
    }

    pub(super) async fn plan_create(&self, outlook: &Outlook, xml: &str, flags: CreateFlags) -> Result<Planned> {
        let state = &outlook.state;
        if flags.contains(CreateFlags::HALT) && !state.row.persistent {
            return Err(Refusal::HaltTransient.into());
        }
        let backends = match state.live_xml().or(state.inactive_xml()) {
            Some(xml) => self.host.backends(state.instance(), xml).await?,
            None => Backends::new(),
        };
        let side = self.side_of(state.row.id, state.live_xml().or(state.inactive_xml())).await?;
        let request = CreateRequest {
            op: self.store.new_op()?,
            domain: state.row.id,
            state: state.run.state,
            instance: state.instance(),
            persistent: state.row.persistent,
            inactive_xml: state.inactive_xml(),
            live_xml: state.live_xml(),
            tree: &state.tree,
            now: (self.clock)(),
            flags,
            caps: self.host.capabilities(),
            backends: &backends,
            side: &side,
        };
        let doc = read(xml, request.form(), flags)?;
        let request = request.of(&doc);
        let draft = create::draft(&request, doc)?;
        draft.check_jobs(&self.foreseen_block_jobs(outlook).await?)?;
        let facts = self.look_at(outlook, &draft.paths(&request)).await?;
        create::plan(&request, draft, &facts)
    }

    pub(super) async fn plan_revert(&self, outlook: &Outlook, name: &SnapshotName, flags: RevertFlags) -> Result<Plan> {
        let state = &outlook.state;
        self.refuse_block_jobs(outlook, Code::OperationInvalid).await?;
        existing(&state.tree, name)?;
        let texts = self.texts_of(outlook, name)?;
        let surroundings = self.surroundings(outlook)?;
        let foreign = surroundings.foreign();
        let side = self.side_of(state.row.id, texts.domain.as_deref()).await?;
        let request = RevertRequest {
            op: self.store.new_op()?,
            domain: state.row.id,
            domain_name: &state.row.name,
            instance: state.instance(),
            new_instance: Instance(uuid::Uuid::new_v4()),
            persistent: state.row.persistent,
            live_xml: state.live_xml(),
            state: state.run.state,
            saved: state.row.saved.as_ref(),
            graph: surroundings.graph(state, &foreign),
            name,
            texts: &texts,
            flags,
            risky: self.settings.risky_revert,
            now: (self.clock)(),
            side: &side,
        };
        let draft = revert::draft(&request)?;
        self.refuse_namesake(&self.domain(state.row.id)?)?;
        if let Some((path, other)) = draft.written().into_iter().find_map(|p| Some((p, surroundings.busy.get(p)?))) {
            return Err(Refusal::ImageBusy { path: path.clone(), domain: other.clone() }.into());
        }
        let paths = draft.paths(&request);
        let mut facts = self.look_at(outlook, &paths).await?;
        let inner = revert::inner_layers(&request, &facts);
        if !inner.is_empty() {
            facts = self.look_beside(outlook, &[paths, inner].concat()).await?;
        }
        revert::plan(&request, draft, &facts)
    }

    pub(super) async fn plan_delete(&self, outlook: &Outlook, name: &SnapshotName) -> Result<Plan> {
        let state = &outlook.state;
        if state.tree.get(name).is_some_and(|s| s.is_external()) {
            self.refuse_block_jobs(outlook, Code::OperationUnsupported).await?;
        }
        let surroundings = self.surroundings(outlook)?;
        let foreign = surroundings.foreign();
        let texts = |name: &SnapshotName| self.texts_of(outlook, name);
        let request = DeleteRequest {
            op: self.store.new_op()?,
            domain: state.row.id,
            state: state.run.state,
            instance: state.instance(),
            inactive_xml: state.inactive_xml(),
            live_xml: state.live_xml(),
            graph: surroundings.graph(state, &foreign),
            name,
            texts: &texts,
        };
        let paths = delete::paths(&request)?;
        let facts = self.look_beside(outlook, &paths).await?;
        delete::plan(&request, &facts)
    }

    /// A change of metadata alone: no journal.
    pub(super) async fn apply(&self, domain: &Arc<Domain>, change: &Change) -> Result<()> {
        let before = domain.view();
        self.store.apply(domain.id, change)?;
        domain.apply(change, None);
        self.tell(domain, &before.tree, change);
        self.record(domain, &change.names()).await;
        Ok(())
    }

    /// Tell the host, which may keep copies of the snapshots' records, which of them changed.
    pub(super) async fn record(&self, domain: &Arc<Domain>, names: &[SnapshotName]) {
        if !names.is_empty() {
            self.host.record(domain.id, &domain.state().tree, names).await;
        }
    }

    pub(super) fn surroundings(&self, outlook: &Outlook) -> Result<Surroundings> {
        let own = &outlook.state;
        let (mut others, mut busy) = (HashSet::new(), HashMap::new());
        for other in self.all().into_iter().filter(|d| d.id != own.row.id) {
            let state = other.state();
            others.extend(state.images()?.into_iter().map(|(_, i)| i.path));
            others.extend(state.row.saved.iter().map(|s| s.path.clone()));
            if let Some(xml) = state.live_xml() {
                let written =
                    xml::domain::view(xml)?.disks.into_iter().filter(|d| !d.readonly).filter_map(|d| d.source);
                busy.extend(written.map(|path| (path, state.row.name.clone())));
            }
            for s in state.tree.iter() {
                others.extend(s.frozen.iter().filter_map(|f| f.image.as_ref()).map(|i| i.path.clone()));
                if let Memory::External(path) = &s.memory {
                    others.insert(path.clone());
                }
            }
        }
        Ok(Surroundings { current: own.images()?, owned: self.owned_by(outlook)?, others, busy })
    }
}
