// Package netio owns every socket of the program: a few shared ones for any number of peers.
//
//	        Send ──▶ pacer ──▶ flights (token, id, size, deadline)
//	                   │            ▲ match            │ deadline
//	                   ▼            │                  ▼
//	raw ICMP socket (IPv4, HDRINCL) ┤ echo, UDP with DF      Silent, late, duplicate
//	UDP socket (IPv4)               ┤ IKE without DF, every IKE reply
//	raw ICMPv6 socket               ┤ echo, packet too big
//	UDP socket (IPv6)               ┘ IKE
//
// IPv4 probes with DF are built whole and sent on a raw socket with IP_HDRINCL and
// IP_PMTUDISC_INTERFACE: then the kernel neither obeys its path MTU cache nor updates it because of
// our probes, as it would with IP_PMTUDISC_PROBE. The UDP socket that owns the probes' source port
// has the same setting, or a "packet too big" would enter the cache through it. On IPv6 a UDP
// socket with IPV6_PMTUDISC_INTERFACE has the same effect; the kernel caches a "packet too big" for
// an ICMPv6 echo regardless of socket options, and no probe of ours obeys that cache.
//
// An answer counts if it repeats the probe's token, or is an ICMP error whose quote matches a probe
// under way: destination, protocol, identifiers, size, and the token where the quote reaches that
// far (RFC 8899, section 4.6.1). An answer that does not match is counted by reason. A "packet too
// big" among them that may be about a probe is passed on as a hint (Packet.Hint).
//
// Without CAP_NET_RAW there are no raw sockets: echoes are refused with ErrNoPrivilege, and probes
// with DF go through a plain UDP socket with IP_PMTUDISC_PROBE and its error queue. That mode
// leaves an entry in this host's path MTU cache.
//
// The package measures nothing and draws no conclusions: it reports the outcome of each probe.
package netio
