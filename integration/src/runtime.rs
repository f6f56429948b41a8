/// What runs the containers: the control, or what is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// containerd's own shim.
    Runc,
    /// lacre, around it.
    Lacre,
}

impl Runtime {
    /// The name that containerd knows it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "io.containerd.runc.v2",
            Self::Lacre => "io.containerd.lacre.v1",
        }
    }

    /// The name of its handler in the CRI configuration.
    #[must_use]
    pub fn handler(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Lacre => "lacre",
        }
    }
}
