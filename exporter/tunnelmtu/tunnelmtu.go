// Package tunnelmtu computes what an ESP tunnel over a measured path should be set to: the one
// choice of a path MTU that the recommended metric and the advice of reports share.
package tunnelmtu

import (
	"cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// ESP is how the ESP packets of a tunnel are built.
type ESP struct {
	Cipher ipsec.Cipher
	// UDP means that ESP is encapsulated in UDP (RFC 3948), IPv6 that the outer packets are IPv6.
	UDP, IPv6 bool
}

// Settings are what an ESP tunnel over a path of PathBytes should be set to.
type Settings struct {
	ESP
	PathBytes, MTUBytes, MSSBytes int
}

// Over returns the settings of the tunnel over a path MTU, nil if no packet fits.
func (e ESP) Over(pathBytes int) *Settings {
	if settings, ok := e.Fit(pathBytes); ok {
		return &settings
	}
	return nil
}

// Fit is Over without a pointer.
func (e ESP) Fit(pathBytes int) (settings Settings, ok bool) {
	if pathBytes <= 0 {
		return Settings{}, false
	}
	mtu := e.Cipher.TunnelMTU(pathBytes, e.IPv6, e.UDP)
	mss := ipsec.MSS(mtu, false)
	if mss <= 0 {
		return Settings{}, false
	}
	return Settings{e, pathBytes, mtu, mss}, true
}

// Encapsulation is udp or none.
func (e ESP) Encapsulation() string {
	if e.UDP {
		return "udp"
	}
	return "none"
}

// PathMTU returns the smallest path MTU that the searches found, 0 if none found one. An echo reply
// is as large as its request, so a small reverse path shrinks the result of echoes: it counts only
// where no IKE method has a result.
func PathMTU(results []pmtu.Result) int {
	smallest, byEcho := 0, 0
	for i := range results {
		r := &results[i]
		switch {
		case !Conclusive(r):
		case r.Method == collectors.ICMP:
			byEcho = r.Bytes
		case smallest == 0 || r.Bytes < smallest:
			smallest = r.Bytes
		}
	}
	return cmp.Or(smallest, byEcho)
}

// Conclusive reports whether a search found the path MTU.
func Conclusive(r *pmtu.Result) bool {
	return r.Bytes > 0 && r.State.Conclusive()
}
