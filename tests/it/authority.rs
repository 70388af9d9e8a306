//! Authorities of a test's own, and what they sign.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::support::World;

/// One that signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one, whose own certificate is written to `NAME.pem`.
    pub(crate) fn new(world: &World, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        world.write(format!("{name}.pem"), issuer.pem());
        Self(issuer)
    }

    /// Writes a certificate for these hosts to `NAME.pem`, and its key to `NAME.key`.
    pub(crate) fn certify(&self, world: &World, name: &str, hosts: &[&str]) {
        self.sign(
            world,
            name,
            CertificateParams::new(hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>()).unwrap(),
        );
    }

    /// The same with what `params` say.
    pub(crate) fn sign(&self, world: &World, name: impl AsRef<Path>, params: CertificateParams) {
        let (name, key) = (name.as_ref().display(), KeyPair::generate().unwrap());
        world.write(format!("{name}.pem"), params.signed_by(&key, &self.0).unwrap().pem());
        world.secret(format!("{name}.key"), key.serialize_pem());
    }
}
