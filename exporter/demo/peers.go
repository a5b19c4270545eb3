//go:build linux

package demo

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/internal/netlab"
)

// A peer is one gateway of the demo, at the end of its own path.
type peer struct {
	// name names the fault; site and isp are its labels.
	name, site, isp string
	// path describes the path in at most pathColumns characters.
	path string
	// ipv6 measures the peer over IPv6.
	ipv6 bool
	// breaks applies the fault; nil leaves the path healthy.
	breaks func(p *netlab.Provider, t netlab.T)
	// protocols enables probes by ESP and AH.
	protocols bool
	// tunnel is the tunnel that the hub shows with the peer; the zero tunnel is none.
	tunnel tunnel
	// diagnoses are the expected diagnoses, sorted; none for a healthy peer.
	diagnoses []string
}

// pathColumns is the width of a description, so that the table fits a terminal of 80 columns.
const pathColumns = 24

// smallLink is the MTU of the narrow link of a black hole, loss the loss of the lossy path per
// direction in percent. fullLink is the path MTU that a gateway assumes without an ICMP error.
const (
	smallLink = 1400
	fullLink  = 1500
	loss      = 5
)

// esp is the number of ESP (RFC 4303).
const esp = 50

// peers returns the peers that this kernel can have: all of them, or the ones without IPv6.
func peers() []peer {
	all := slices.Concat(filters(), blackHoles(), tunnels())
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		all = slices.DeleteFunc(all, func(p peer) bool { return p.ipv6 })
	}
	return all
}

// filters returns the healthy peers and the peers with a filter on their path.
func filters() []peer {
	return []peer{
		{
			name: "healthy", site: "bergen", isp: "globex", protocols: true,
			path:   "1500 bytes pass",
			tunnel: tunnel{pathMTU: fullLink},
		},
		{
			name: "healthy-ipv6", site: "hobart", isp: "globex", ipv6: true,
			path: "1500 bytes pass",
		},
		{
			name: "lossy", site: "cusco", isp: "globex",
			path:   fmt.Sprintf("%d %% lost each way", loss),
			breaks: func(p *netlab.Provider, t netlab.T) { p.Loss(t, loss) },
		},
		{
			name: "icmp-dropped", site: "dakar", isp: "globex",
			path:      "ICMP dropped",
			breaks:    func(p *netlab.Provider, t netlab.T) { p.DropICMP(t) },
			diagnoses: []string{diagnosis.ICMPBlocked},
		},
		{
			name: "fragments-dropped", site: "faro", isp: "initech",
			path:      "IP fragments dropped",
			breaks:    func(p *netlab.Provider, t netlab.T) { p.DropFragments(t) },
			diagnoses: []string{diagnosis.FragmentsDropped},
		},
		{
			name: "esp-blocked", site: "graz", isp: "initech", protocols: true,
			path:      "ESP dropped",
			breaks:    func(p *netlab.Provider, t netlab.T) { p.DropProtocol(t, esp) },
			diagnoses: []string{diagnosis.ESPBlocked},
		},
		{
			name: "udp4500-blocked", site: "kobe", isp: "initech",
			path:      "UDP 4500 dropped",
			breaks:    func(p *netlab.Provider, t netlab.T) { p.DropUDPPort(t, 4500) },
			diagnoses: []string{diagnosis.UDP4500Blocked},
		},
		{
			name: "unreachable", site: "lyon", isp: "initech",
			path:      "everything dropped",
			breaks:    func(p *netlab.Provider, t netlab.T) { p.Loss(t, 100) },
			diagnoses: []string{diagnosis.PeerSilent},
		},
	}
}

// narrow has a link carry smallLink bytes, and drops "packet too big".
func narrow(p *netlab.Provider, t netlab.T) {
	p.DropPTB(t)
	p.SetMTU(t, smallLink)
}

// narrowNoICMP has a link carry smallLink bytes, and drops all ICMP.
func narrowNoICMP(p *netlab.Provider, t netlab.T) {
	p.SetMTU(t, smallLink)
	p.DropICMP(t)
}

// Descriptions of the paths of narrow and narrowNoICMP.
var (
	narrowPath       = fmt.Sprintf("%d bytes, no \"too big\"", smallLink)
	narrowNoICMPPath = fmt.Sprintf("%d bytes, ICMP dropped", smallLink)
)

// blackHoles returns the peers of which large packets vanish, in one or both directions. They have
// one provider, so that it is identified as the cause.
func blackHoles() []peer {
	return []peer{
		{
			name: "black-hole", site: "oslo", isp: "acme",
			path: narrowPath, breaks: narrow,
			diagnoses: []string{diagnosis.PMTUBlackHole},
		},
		{
			// Routers fragment large replies of IPv4, and drop the ones of IPv6.
			name: "black-hole-ipv6", site: "narvik", isp: "acme", ipv6: true,
			path: narrowPath, breaks: narrow,
			diagnoses: []string{diagnosis.PMTUBlackHole, diagnosis.PMTUBlackHoleReverse},
		},
		{
			name: "black-hole-no-icmp", site: "quito", isp: "acme",
			path: narrowNoICMPPath, breaks: narrowNoICMP,
			diagnoses: []string{diagnosis.ICMPBlocked, diagnosis.PMTUBlackHole},
		},
		{
			name: "black-hole-both-ways", site: "riga", isp: "acme",
			path:      fmt.Sprintf("%d bytes, both ways", smallLink),
			breaks:    func(p *netlab.Provider, t netlab.T) { p.SilentDropAbove(t, smallLink, netlab.Both) },
			diagnoses: []string{diagnosis.PMTUBlackHole, diagnosis.PMTUBlackHoleReverse},
		},
		{
			name: "black-hole-back", site: "split", isp: "acme",
			path:      fmt.Sprintf("%d bytes, reverse path", smallLink),
			breaks:    func(p *netlab.Provider, t netlab.T) { p.SilentDropAbove(t, smallLink, netlab.Reverse) },
			diagnoses: []string{diagnosis.PMTUBlackHoleReverse},
		},
	}
}

// tunnels returns the peers whose tunnels at the hub fail because of the path.
func tunnels() []peer {
	return []peer{
		{
			name: "tunnel-oversized", site: "turku", isp: "acme",
			path: narrowPath, breaks: narrow,
			tunnel:    tunnel{pathMTU: fullLink},
			diagnoses: []string{diagnosis.PMTUBlackHole, diagnosis.TunnelOversized},
		},
		{
			name: "negotiation-stuck", site: "haiti", isp: "acme",
			path: narrowNoICMPPath, breaks: narrowNoICMP,
			tunnel:    tunnel{stuck: true},
			diagnoses: []string{diagnosis.ICMPBlocked, diagnosis.NegotiationStuck, diagnosis.PMTUBlackHole},
		},
	}
}

// settings shortens the intervals for a user who waits. A path MTU search needs its 30 s if the
// peer does not answer.
const settings = `modules:
  default:
    intervals: {icmp: 1s, ike: 10s, pmtu: 30s, pmtu_raise: 1m, fragments: 1m, protocols: 1m}
`

// configuration returns the exporter's configuration for the peers, whose addresses are in the same
// order, and for their gateway.
func configuration(all []peer, addresses []string, at *login) []byte {
	var b bytes.Buffer
	b.WriteString(settings)
	fmt.Fprintf(&b, "gateways:\n- {name: %s, type: cisco_asa, transport: https, address: %q, username: %s, password_file: %s, ca_file: %s, interval: %s}\n",
		hubName, at.address, hubUser, at.passwordFile, at.caFile, readEvery)
	b.WriteString("peers:\n")
	for i, p := range all {
		collectors := []string{"icmp", "ike", "pmtu", "fragments"}
		if p.protocols {
			collectors = append(collectors, "protocols")
		}
		gateway := ""
		if p.tunnel != (tunnel{}) {
			gateway = ", gateways: [" + hubName + "]"
		}
		fmt.Fprintf(&b, "- {name: %s, address: %q, labels: {site: %s, isp: %s}, collectors: [%s]%s}\n",
			p.name, addresses[i], p.site, p.isp, strings.Join(collectors, ", "), gateway)
	}
	return b.Bytes()
}
