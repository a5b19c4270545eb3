// Package xfrm reads the IPsec SAs of this host's kernel (Linux XFRM), of any daemon, and the kernel's
// error counters (/proc/net/xfrm_stat).
//
// The kernel knows no IKE SAs, so it cannot report whether a tunnel is up. Its answers contain the
// keys of the SAs. They are read message by message, and only the needed fields of each; the
// attributes with keys are skipped and never kept, logged or shown.
//
// Listing SAs needs CAP_NET_ADMIN in the network namespace. New opens everything, so the source
// stays in the network namespace in which it was made.
package xfrm

import "ipsec_path_exporter/collectors/gateways"

// Type is the type of these gateways in the configuration.
const Type = "xfrm"

// Config says what else to look at.
type Config struct {
	// PathMTU may be nil.
	PathMTU gateways.PathMTU
}
