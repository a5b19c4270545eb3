//go:build linux

package demo

import (
	"bytes"
	"fmt"
	"strings"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/netlab"
)

// A peer is one gateway of the demo, at the end of its own path.
type peer struct {
	// name names the fault; site and isp are its labels.
	name, site, isp string
	// path describes the path in one line.
	path string
	// breaks applies the fault; nil leaves the path healthy.
	breaks func(p *netlab.Provider, t netlab.T)
	// protocols enables probes by ESP and AH.
	protocols bool
	// diagnoses are the expected diagnoses, sorted; none for a healthy peer.
	diagnoses []string
}

// smallLink is the MTU of the narrow link of a black hole, loss the loss of the lossy path per
// direction in percent.
const (
	smallLink = 1400
	loss      = 5
)

// esp is the number of ESP (RFC 4303).
const esp = 50

// peers returns all peers. The black holes have one provider, so that it is identified as the
// cause.
func peers() []peer {
	return append([]peer{
		{
			name: "healthy", site: "bergen", isp: "globex", protocols: true,
			path: "1500 bytes pass, everything is answered",
		},
		{
			name: "lossy", site: "cusco", isp: "globex",
			path:   fmt.Sprintf("%d %% of the packets are lost each way", loss),
			breaks: func(p *netlab.Provider, t netlab.T) { p.Loss(t, loss) },
		},
		{
			name: "icmp-dropped", site: "dakar", isp: "globex",
			path:      "all ICMP is dropped, 1500 bytes pass",
			breaks:    func(p *netlab.Provider, t netlab.T) { p.DropICMP(t) },
			diagnoses: []string{diagnosis.ICMPBlocked},
		},
		{
			name: "fragments-dropped", site: "faro", isp: "initech",
			path:      "IP fragments are dropped",
			breaks:    func(p *netlab.Provider, t netlab.T) { p.DropFragments(t) },
			diagnoses: []string{diagnosis.FragmentsDropped},
		},
		{
			name: "esp-blocked", site: "graz", isp: "initech", protocols: true,
			path:      "ESP (IP protocol 50) is dropped",
			breaks:    func(p *netlab.Provider, t netlab.T) { p.DropProtocol(t, esp) },
			diagnoses: []string{diagnosis.ESPBlocked},
		},
		{
			name: "udp4500-blocked", site: "kobe", isp: "initech",
			path:      "UDP 4500 is dropped",
			breaks:    func(p *netlab.Provider, t netlab.T) { p.DropUDPPort(t, 4500) },
			diagnoses: []string{diagnosis.UDP4500Blocked},
		},
		{
			name: "unreachable", site: "lyon", isp: "initech",
			path:      "everything is dropped",
			breaks:    func(p *netlab.Provider, t netlab.T) { p.Loss(t, 100) },
			diagnoses: []string{diagnosis.PeerSilent},
		},
	}, blackHoles()...)
}

// blackHoles returns the peers of which large packets vanish, in one or both directions.
func blackHoles() []peer {
	return []peer{
		{
			name: "black-hole", site: "oslo", isp: "acme",
			path: fmt.Sprintf("a link carries %d bytes, \"packet too big\" is dropped", smallLink),
			breaks: func(p *netlab.Provider, t netlab.T) {
				p.DropPTB(t)
				p.SetMTU(t, smallLink)
			},
			diagnoses: []string{diagnosis.PMTUBlackHole},
		},
		{
			name: "black-hole-no-icmp", site: "quito", isp: "acme",
			path: fmt.Sprintf("a link carries %d bytes, all ICMP is dropped", smallLink),
			breaks: func(p *netlab.Provider, t netlab.T) {
				p.SetMTU(t, smallLink)
				p.DropICMP(t)
			},
			diagnoses: []string{diagnosis.ICMPBlocked, diagnosis.PMTUBlackHole},
		},
		{
			name: "black-hole-both-ways", site: "riga", isp: "acme",
			path:      fmt.Sprintf("packets above %d bytes are dropped in both directions", smallLink),
			breaks:    func(p *netlab.Provider, t netlab.T) { p.SilentDropAbove(t, smallLink, netlab.Both) },
			diagnoses: []string{diagnosis.PMTUBlackHole, diagnosis.PMTUBlackHoleReverse},
		},
		{
			name: "black-hole-back", site: "split", isp: "acme",
			path:      fmt.Sprintf("packets above %d bytes are dropped on the reverse path", smallLink),
			breaks:    func(p *netlab.Provider, t netlab.T) { p.SilentDropAbove(t, smallLink, netlab.Reverse) },
			diagnoses: []string{diagnosis.PMTUBlackHoleReverse},
		},
	}
}

// settings shortens the intervals for a user who waits. A path MTU search needs its 30 s if the
// peer does not answer.
const settings = `modules:
  default:
    intervals: {icmp: 1s, ike: 10s, pmtu: 30s, pmtu_raise: 1m, fragments: 1m, protocols: 1m}
peers:
`

// configuration returns the exporter's configuration for the peers, whose addresses are in the same
// order.
func configuration(all []peer, addresses []string) []byte {
	var b bytes.Buffer
	b.WriteString(settings)
	for i, p := range all {
		collectors := []string{"icmp", "ike", "pmtu", "fragments"}
		if p.protocols {
			collectors = append(collectors, "protocols")
		}
		fmt.Fprintf(&b, "- {name: %s, address: %s, labels: {site: %s, isp: %s}, collectors: [%s]}\n",
			p.name, addresses[i], p.site, p.isp, strings.Join(collectors, ", "))
	}
	return b.Bytes()
}
