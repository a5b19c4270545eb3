package netio

import (
	"errors"
	"log/slog"
)

// ErrNoPrivilege means that this needs a raw socket, and the process has no CAP_NET_RAW.
var ErrNoPrivilege = errors.New("no CAP_NET_RAW")

// ErrNoMark means that this process may not set the firewall mark of a packet.
var ErrNoMark = errors.New("no CAP_NET_RAW (before Linux 5.17: no CAP_NET_ADMIN)")

// ErrNoSocket means that this host has no socket for the address family.
var ErrNoSocket = errors.New("address family not available on this host")

// ErrTooLarge means that a probe is larger than an IP packet can be, or smaller than its headers.
var ErrTooLarge = errors.New("impossible packet size")

// ErrPortNotAllowed means that this process may not use a fixed source port.
var ErrPortNotAllowed = errors.New("the source port is below 1024: CAP_NET_BIND_SERVICE is needed")

// ErrApart means that the probe would leave by another way than the traffic that it stands for.
var ErrApart = errors.New("probe and traffic leave by different ways")

// ErrQueueFull means that a full queue of this host, as that of a shaper, dropped a probe.
var ErrQueueFull = errors.New("dropped by a full queue of this host")

// Capability names what this process may do; the names are label values of the metric `capability`.
type Capability string

// The capabilities.
const (
	// RawICMP: raw ICMP sockets, so echoes of all peers share one and every ICMP error is seen.
	RawICMP Capability = "raw_icmp"
	// RawIP: whole IPv4 packets, so that DF probes leave this host's path MTU cache alone.
	RawIP Capability = "raw_ip"
	// PolicyBypass: probes are exempt from this host's own IPsec policies.
	PolicyBypass Capability = "policy_bypass"
	// KernelTimestamps: the kernel stamps when an answer arrived.
	KernelTimestamps Capability = "kernel_timestamps"
	// FirewallMark: probes may carry a firewall mark.
	FirewallMark Capability = "firewall_mark"
	// PingSocket: unprivileged echo sockets (net.ipv4.ping_group_range).
	PingSocket Capability = "ping_socket"
	// IPv4 and IPv6: there are sockets of the family.
	IPv4 Capability = "ipv4"
	IPv6 Capability = "ipv6"
)

// Config says how to open a Stack.
type Config struct {
	Limits Limits
	Log    *slog.Logger
	// Unprivileged opens no raw sockets even where that is allowed.
	Unprivileged bool
	// inside means that packets obey this host's IPsec policies; see Stack.OpenInside.
	inside bool
}

// Limits bound what the whole process puts on the wire.
type Limits struct {
	PacketsPerSecond float64
	BytesPerSecond   float64
}

// DefaultLimits are harmless for any uplink, and enough for 10,000 peers every five seconds.
var DefaultLimits = Limits{PacketsPerSecond: 2000, BytesPerSecond: 2e6}
