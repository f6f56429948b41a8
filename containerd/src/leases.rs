//! Leases, which keep containerd from collecting what was just made.

use std::collections::BTreeMap;

use crate::{Client, Error, wire};

const CREATE: &str = "/containerd.services.leases.v1.Leases/Create";
const DELETE: &str = "/containerd.services.leases.v1.Leases/Delete";

impl Client {
    /// Makes a lease: what is made under it ([`Client::under_lease`]) is not collected as
    /// garbage until it is deleted or that time (RFC 3339) has come.
    ///
    /// # Errors
    /// When the id exists, or containerd refuses.
    pub async fn create_lease(&self, id: &str, expires: &str) -> Result<(), Error> {
        let labels = BTreeMap::from([("containerd.io/gc.expire".into(), expires.into())]);
        let request = wire::NewLease { id: id.into(), labels };
        self.unary::<_, wire::Empty>(CREATE, id, request).await?;
        Ok(())
    }

    /// Deletes a lease; what nothing else holds is collected.
    ///
    /// # Errors
    /// When there is none, or containerd refuses.
    pub async fn delete_lease(&self, id: &str) -> Result<(), Error> {
        self.unary::<_, wire::Empty>(DELETE, id, wire::Named { name: id.into() }).await?;
        Ok(())
    }
}
