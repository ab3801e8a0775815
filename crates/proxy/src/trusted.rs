//! `trusted_ips`: the peers whose word on the client is taken.

use std::net::IpAddr;

/// A set of addresses and networks, and whether sockets of the file system are in it (`unix:`).
#[derive(Clone, Debug, Default)]
pub struct TrustedIps {
    nets: Vec<(IpAddr, u8)>,
    unix: bool,
}

impl TrustedIps {
    /// From addresses, CIDRs and `unix:`. The error is the entry that is none of them.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let (mut nets, mut unix) = (Vec::new(), false);
        for entry in entries {
            if entry == "unix:" {
                unix = true;
                continue;
            }
            let (ip, bits) = entry.split_once('/').map_or((entry, None), |(ip, bits)| (ip, Some(bits)));
            let ip: IpAddr = ip.parse().map_err(|_| entry.to_owned())?;
            let most = if ip.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(most), str::parse).map_err(|_| entry.to_owned())?;
            if bits > most {
                return Err(entry.to_owned());
            }
            nets.push((ip, bits));
        }
        Ok(Self { nets, unix })
    }

    pub fn is_empty(&self) -> bool {
        self.nets.is_empty() && !self.unix
    }

    pub fn has_unix(&self) -> bool {
        self.unix
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.nets.iter().any(|(net, bits)| match (net, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => same(u32::from(*net).into(), u32::from(ip).into(), 32, *bits),
            (IpAddr::V6(net), IpAddr::V6(ip)) => same(u128::from(*net), u128::from(ip), 128, *bits),
            _ => false,
        })
    }
}

fn same(a: u128, b: u128, width: u8, bits: u8) -> bool {
    bits == 0 || (a ^ b) >> (width - bits) == 0
}

#[cfg(test)]
mod tests {
    use super::TrustedIps;

    #[test]
    fn contains_addresses_and_networks() {
        let set = TrustedIps::new(["10.0.0.0/8", "192.168.1.7", "2001:db8::/32", "unix:"]).unwrap();
        for (ip, want) in [
            ("10.1.2.3", true),
            ("11.1.2.3", false),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("::ffff:10.0.0.1", true),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(set.contains(ip.parse().unwrap()), want, "{ip}");
        }
        assert!(set.has_unix() && !TrustedIps::new(["127.0.0.1"]).unwrap().has_unix());
        assert_eq!(TrustedIps::new(["10.0.0.0/33"]).unwrap_err(), "10.0.0.0/33");
        assert!(TrustedIps::new(["0.0.0.0/0"]).unwrap().contains("8.8.8.8".parse().unwrap()));
    }
}
