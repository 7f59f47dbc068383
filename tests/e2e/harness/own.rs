//! `org.virsnap.Snapshots1` in the words of the tests.

use super::client::{Domain, Failure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use zbus::{DynamicType, OwnedObjectPath, OwnedVariant, Type, Variant};

pub const OWN: &str = "org.virsnap.Snapshots1";

/// Snapshot, part, path, status, detail.
pub type Row = (String, String, String, String, String);

impl Domain {
    async fn own<R, B>(&self, method: &str, body: &B) -> Result<R, Failure>
    where
        R: DeserializeOwned + Type,
        B: Serialize + DynamicType,
    {
        self.client.call(&self.path, OWN, method, body).await
    }

    pub async fn verify(&self) -> Vec<Row> {
        let (rows,): (Vec<Row>,) = self.own("Verify", &(0u32,)).await.unwrap();
        rows
    }

    /// What is not as it should be: snapshot, part, status.
    pub async fn complaints(&self) -> Vec<(String, String, String)> {
        let rows = self.verify().await.into_iter().filter(|r| r.3 != "ok");
        rows.map(|(snapshot, part, _, status, _)| (snapshot, part, status)).collect()
    }

    pub async fn rename_snapshot(&self, from: &str, to: &str) -> Result<String, Failure> {
        let path: OwnedObjectPath = self.own("Rename", &(from, to, 0u32)).await?;
        Ok(path.to_string())
    }

    pub async fn describe_snapshot(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.own("SetDescription", &(name, text, 0u32)).await
    }

    pub async fn plan_create(&self, xml: &str, flags: u32) -> Result<Vec<String>, Failure> {
        self.own::<(Vec<String>,), _>("PlanCreate", &(xml, flags)).await.map(|(lines,)| lines)
    }

    pub async fn plan_delete(&self, name: &str, flags: u32) -> Result<Vec<String>, Failure> {
        self.own::<(Vec<String>,), _>("PlanDelete", &(name, flags)).await.map(|(lines,)| lines)
    }

    pub async fn plan_revert(&self, name: &str, options: &[&str]) -> Result<Vec<String>, Failure> {
        self.own::<(Vec<String>,), _>("PlanRevert", &(name, wishes(options))).await.map(|(lines,)| lines)
    }

    pub async fn revert_with(&self, name: &str, options: &[&str]) -> Result<(), Failure> {
        self.own("Revert", &(name, wishes(options))).await
    }

    pub async fn cancel(&self) -> Result<(), Failure> {
        self.own("Cancel", &(0u32,)).await
    }

    pub async fn job(&self) -> BTreeMap<String, OwnedVariant> {
        let (job,): (BTreeMap<String, OwnedVariant>,) = self.own("GetJob", &(0u32,)).await.unwrap();
        job
    }
}

fn wishes<'a>(options: &[&'a str]) -> BTreeMap<&'a str, Variant<'static>> {
    options.iter().map(|o| (*o, Variant::Bool(true))).collect()
}
