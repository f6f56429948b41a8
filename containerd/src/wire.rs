//! The messages, by the field numbers of containerd's `api/services/*/v1/*.proto`.

use std::collections::BTreeMap;

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $ty:ty,)* })+) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, prost::Message)]
        pub(crate) struct $name { $($(#[$attribute])* pub(crate) $field: $ty,)* }
    )+};
}

messages! {
    Empty {}
    Any {
        #[prost(string, tag = "1")] type_url: String,
        #[prost(bytes = "vec", tag = "2")] value: Vec<u8>,
    }
    FieldMask { #[prost(string, repeated, tag = "1")] paths: Vec<String>, }
    /// `google.protobuf.Timestamp`.
    Timestamp {
        #[prost(int64, tag = "1")] seconds: i64,
        #[prost(int32, tag = "2")] nanos: i32,
    }
    Runtime {
        #[prost(string, tag = "1")] name: String,
        #[prost(message, optional, tag = "2")] options: Option<Any>,
    }
    Container {
        #[prost(string, tag = "1")] id: String,
        #[prost(btree_map = "string, string", tag = "2")] labels: BTreeMap<String, String>,
        #[prost(string, tag = "3")] image: String,
        #[prost(message, optional, tag = "4")] runtime: Option<Runtime>,
        #[prost(message, optional, tag = "5")] spec: Option<Any>,
        #[prost(string, tag = "6")] snapshotter: String,
        #[prost(string, tag = "7")] snapshot_key: String,
        #[prost(message, optional, tag = "8")] created_at: Option<Timestamp>,
        #[prost(btree_map = "string, message", tag = "10")] extensions: BTreeMap<String, Any>,
        #[prost(string, tag = "11")] sandbox: String,
    }
    UpdateContainer {
        #[prost(message, optional, tag = "1")] container: Option<Container>,
        #[prost(message, optional, tag = "2")] mask: Option<FieldMask>,
    }
    /// The request and the answer of Create, the answer of Get and Update.
    OneContainer { #[prost(message, optional, tag = "1")] container: Option<Container>, }
    Containers { #[prost(message, repeated, tag = "1")] containers: Vec<Container>, }
    /// Requests whose only field is a name, an id or a digest.
    Named { #[prost(string, tag = "1")] name: String, }
    /// Requests whose only field is a list of filters.
    Filters { #[prost(string, repeated, tag = "1")] filters: Vec<String>, }
    Descriptor {
        #[prost(string, tag = "1")] media_type: String,
        #[prost(string, tag = "2")] digest: String,
        #[prost(int64, tag = "3")] size: i64,
    }
    Image {
        #[prost(string, tag = "1")] name: String,
        #[prost(btree_map = "string, string", tag = "2")] labels: BTreeMap<String, String>,
        #[prost(message, optional, tag = "3")] target: Option<Descriptor>,
        #[prost(message, optional, tag = "8")] updated_at: Option<Timestamp>,
    }
    OneImage { #[prost(message, optional, tag = "1")] image: Option<Image>, }
    Images { #[prost(message, repeated, tag = "1")] images: Vec<Image>, }
    /// The requests of Prepare and View.
    NewSnapshot {
        #[prost(string, tag = "1")] snapshotter: String,
        #[prost(string, tag = "2")] key: String,
        #[prost(string, tag = "3")] parent: String,
        #[prost(btree_map = "string, string", tag = "4")] labels: BTreeMap<String, String>,
    }
    /// The requests of Stat, Mounts and Remove.
    Snapshot {
        #[prost(string, tag = "1")] snapshotter: String,
        #[prost(string, tag = "2")] key: String,
    }
    ListSnapshots {
        #[prost(string, tag = "1")] snapshotter: String,
        #[prost(string, repeated, tag = "2")] filters: Vec<String>,
    }
    Mount {
        #[prost(string, tag = "1")] kind: String,
        #[prost(string, tag = "2")] source: String,
        #[prost(string, tag = "3")] target: String,
        #[prost(string, repeated, tag = "4")] options: Vec<String>,
    }
    Mounts { #[prost(message, repeated, tag = "1")] mounts: Vec<Mount>, }
    SnapshotInfo {
        #[prost(string, tag = "1")] name: String,
        #[prost(string, tag = "2")] parent: String,
        #[prost(int32, tag = "3")] kind: i32,
        #[prost(btree_map = "string, string", tag = "6")] labels: BTreeMap<String, String>,
    }
    OneSnapshot { #[prost(message, optional, tag = "1")] info: Option<SnapshotInfo>, }
    Snapshots { #[prost(message, repeated, tag = "1")] info: Vec<SnapshotInfo>, }
    Process {
        #[prost(string, tag = "1")] container: String,
        #[prost(string, tag = "2")] id: String,
        #[prost(uint32, tag = "3")] pid: u32,
        #[prost(int32, tag = "4")] status: i32,
        #[prost(uint32, tag = "9")] exit_status: u32,
    }
    OneTask { #[prost(message, optional, tag = "1")] process: Option<Process>, }
    Tasks { #[prost(message, repeated, tag = "1")] tasks: Vec<Process>, }
    KillTask {
        #[prost(string, tag = "1")] container: String,
        #[prost(string, tag = "2")] exec: String,
        #[prost(uint32, tag = "3")] signal: u32,
        #[prost(bool, tag = "4")] all: bool,
    }
    Exited { #[prost(uint32, tag = "3")] exit_status: u32, }
    Waited { #[prost(uint32, tag = "1")] exit_status: u32, }
    NewLease {
        #[prost(string, tag = "1")] id: String,
        #[prost(btree_map = "string, string", tag = "3")] labels: BTreeMap<String, String>,
    }
    Pid { #[prost(uint32, tag = "1")] pid: u32, }
    Pids { #[prost(message, repeated, tag = "1")] processes: Vec<Pid>, }
    ContentInfo {
        #[prost(string, tag = "1")] digest: String,
        #[prost(int64, tag = "2")] size: i64,
        #[prost(btree_map = "string, string", tag = "5")] labels: BTreeMap<String, String>,
    }
    OneContentInfo { #[prost(message, optional, tag = "1")] info: Option<ContentInfo>, }
    ReadContent {
        #[prost(string, tag = "1")] digest: String,
        #[prost(int64, tag = "2")] offset: i64,
        #[prost(int64, tag = "3")] size: i64,
    }
    ContentPart {
        #[prost(int64, tag = "1")] offset: i64,
        #[prost(bytes = "vec", tag = "2")] data: Vec<u8>,
    }
    Envelope {
        #[prost(string, tag = "2")] namespace: String,
        #[prost(string, tag = "3")] topic: String,
        #[prost(message, optional, tag = "4")] event: Option<Any>,
    }
    /// An event of an image, whose first field is its name.
    ImageEvent { #[prost(string, tag = "1")] name: String, }
    SnapshotCommitted {
        #[prost(string, tag = "2")] name: String,
        /// containerd 1.6 does not tell.
        #[prost(string, tag = "5")] snapshotter: String,
    }
    Version {
        #[prost(string, tag = "1")] version: String,
        #[prost(string, tag = "2")] revision: String,
    }
    Namespace { #[prost(string, tag = "1")] name: String, }
    Namespaces { #[prost(message, repeated, tag = "1")] namespaces: Vec<Namespace>, }
    Plugin {
        #[prost(string, tag = "1")] kind: String,
        #[prost(string, tag = "2")] id: String,
        #[prost(btree_map = "string, string", tag = "5")] exports: BTreeMap<String, String>,
    }
    Plugins { #[prost(message, repeated, tag = "1")] plugins: Vec<Plugin>, }
}
