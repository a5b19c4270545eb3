// Package openiked reads the SAs of an OpenIKED daemon (iked) through its control program: `ikectl
// show sa` and `show stats`, because the control socket uses a private structure. Neither command
// changes anything or shows a secret.
//
// iked speaks IKEv2 only. It shows neither traffic, nor since when an SA is established, nor its
// own version. A responder's SA has no addresses until the peer has authenticated itself.
package openiked

import (
	"cmp"
	"context"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// Type is the type of these gateways in the configuration.
const Type = "openiked"

// Config locates the daemon.
type Config struct {
	// Socket is iked's control socket, ikectl's own default if empty.
	Socket string
	// Ikectl is the program, where packages have it if empty.
	Ikectl string
	// PathMTU may be nil.
	PathMTU gateways.PathMTU
}

// A Source is one daemon.
type Source struct {
	ikectl  gateways.Command
	pathMTU gateways.PathMTU
}

var _ gateways.Source = (*Source)(nil)

// Programs returns where packages have ikectl.
func Programs() []string { return []string{"/usr/sbin/ikectl", "/usr/local/sbin/ikectl"} }

// New makes a Source.
func New(c Config) *Source {
	s := &Source{pathMTU: c.PathMTU}
	s.ikectl.Paths = Programs()
	if c.Ikectl != "" {
		s.ikectl.Paths = []string{c.Ikectl}
	}
	if c.Socket != "" {
		s.ikectl.Args = []string{"-s", c.Socket}
	}
	return s
}

// Read implements gateways.Source.
func (s *Source) Read(ctx context.Context) (gateways.Table, error) {
	sas, err := s.ikectl.Run(ctx, "show", "sa")
	if err != nil {
		return gateways.Table{}, err
	}
	table, err := parseSAs(ctx, sas, s.pathMTU).Checked()
	if err != nil || ctx.Err() != nil { // then the table is not complete
		return gateways.Table{}, cmp.Or(ctx.Err(), err)
	}
	// Older versions have no statistics: then there are no counters.
	if stats, err := s.ikectl.Run(ctx, "show", "stats"); err == nil {
		table.Counters = parseStats(ctx, stats)
	}
	return table, ctx.Err()
}

// Close implements gateways.Source. Nothing is kept open.
func (s *Source) Close() error { return nil }

var (
	// ikeLine reads, on one line:
	//	iked_sas: 0x5.. rspi 0xd1.. ispi 0x71.. 10.0.0.3:500->10.0.0.1:500<FQDN/b.example.test>[10.9.9.1]
	//	ESTABLISHED r natt udpecap nexti 0x0 pol 0x5..
	// The identity may hold blanks; versions before 7 show none. The list of established SAs by
	// identity has the same lines.
	ikeLine = regexp.MustCompile(`^iked_(?:dstid_)?sas: (\S+) rspi (\S+) ispi (\S+) (\S+?)->(\S+?)(?:<(.*)>\[.*\])? ([A-Z_]+) ([ir])\b(.*?)(?: nexti (\S+|\(nil\)).*)?$`)
	// childLine reads, also in the list of active SAs:
	//	sa_childsas: 0xf.. ESP 0xfb8cf58d in 10.0.0.1:4500 -> 10.0.0.3:500 (LA) B=0x0 P=0xfd.. @0xfd..
	childLine = regexp.MustCompile(`^(?:sa_childsas|iked_activesas): (\S+) (ESP|AH) (\S+) (in|out) (\S+) -> (\S+) \(([A-Z]*)\).* P=(\S+)(?: @(\S+))?$`)
	// otherLine matches flows, and IPCOMP SAs: each belongs to the ESP or AH SA of the line before.
	otherLine = regexp.MustCompile(`^$|^(?:sa_flows|iked_flows|iked_ipcomp):|^(?:sa_childsas|iked_activesas)?\s*: \S+ IPCOMP `)
)

// A parser reads `ikectl show sa`: a line per IKE SA, then two for each of its children, and then
// lists of the same SAs in another order.
type parser struct {
	table    gateways.Table
	pathMTU  gateways.PathMTU
	ike      map[string][]string // the lines of IKE SAs, by pointer
	at       map[string]int      // where they are in the table
	newest   string              // pointer of the last one
	children map[string]bool     // pointers of child SAs
	outbound [][]string          // their lines
}

func parseSAs(ctx context.Context, out string, pathMTU gateways.PathMTU) gateways.Table {
	p := parser{
		table: gateways.Table{Info: gateways.Info{Type: Type}}, pathMTU: pathMTU,
		ike: map[string][]string{}, at: map[string]int{}, children: map[string]bool{},
	}
	for line := range gateways.Lines(ctx, out) {
		line = strings.TrimSpace(line)
		if p.table.Full() || len(p.children) >= gateways.MaxSAs {
			p.table.Doubt(gateways.Identity{}) // what follows is not read
			break
		}
		if m := ikeLine.FindStringSubmatch(line); m != nil {
			p.ikeSA(m)
		} else if m := childLine.FindStringSubmatch(line); m != nil {
			p.child(line, m)
		} else if !otherLine.MatchString(line) {
			p.table.SkipSA(line, gateways.Identity{})
		}
	}
	// A pair with an outbound half only: the line of the other half was not understood.
	for _, m := range p.outbound {
		if !p.children[m[8]] && !null(m[8]) && strings.Contains(m[7], "L") {
			p.table.Doubt(gateways.Identity{Address: host(m[6])})
		}
	}
	return p.table
}

func (p *parser) ikeSA(m []string) {
	if p.ike[m[1]] != nil {
		return
	}
	p.ike[m[1]], p.at[m[1]], p.newest = m, len(p.table.IKE), m[1]
	p.table.IKE = append(p.table.IKE, ikeSA(m))
}

// child takes the inbound half of a pair, which shows that packets can come in.
func (p *parser) child(line string, m []string) {
	if p.children[m[1]] {
		return
	}
	p.children[m[1]] = true
	peer := m[6]
	if m[4] == "in" {
		peer = m[5]
	}
	parent := p.ike[cmp.Or(m[9], p.newest)]
	switch {
	case parent == nil:
		p.table.SkipSA(line, gateways.Identity{Address: host(peer)})
	case m[4] == "out":
		p.outbound = append(p.outbound, m)
	default:
		c := child(m, &p.table.IKE[p.at[parent[1]]])
		if c.State.Up() {
			c.NATT = gateways.AnswerOf(slices.Contains(strings.Fields(parent[9]), "udpecap"))
			c.PathMTU = p.pathMTU.Of(host(parent[4]), c.Peer.Address)
		}
		p.table.Children = append(p.table.Children, c)
	}
}

func ikeSA(m []string) gateways.IKESA {
	sa := gateways.IKESA{
		Key: m[3] + " " + m[2], Peer: gateways.Identity{Address: host(m[5])}, Version: 2, State: ikeState(m[7]), VendorState: m[7],
		Initiator: m[8] == "i",
	}
	_, sa.Peer.ID, _ = strings.Cut(m[6], "/")
	if next := m[10]; sa.State == gateways.Established && !null(next) {
		sa.State = gateways.IKERekeying // Its successor is being negotiated.
	}
	return sa
}

// child is a pair of SAs. Its flags: L it is in the kernel, R it is being replaced. P is its other
// half.
func child(m []string, ike *gateways.IKESA) gateways.ChildSA {
	c := gateways.ChildSA{Key: m[3], Peer: ike.Peer, State: gateways.Installing, VendorState: m[7]}
	switch {
	case ike.State == gateways.IKEClosing:
		c.State = gateways.ChildClosing
	case !strings.Contains(m[7], "L"), null(m[8]):
	case strings.Contains(m[7], "R"):
		c.State = gateways.ChildRekeying
	default:
		c.State = gateways.Installed
	}
	return c
}

// ikeState maps the words of iked's ikev2_state_map to classes.
func ikeState(word string) gateways.IKEState {
	switch word {
	case "INIT", "COOKIE", "SA_INIT", "EAP", "EAP_SUCCESS", "AUTH_REQUEST", "AUTH_SUCCESS", "VALID", "EAP_VALID":
		return gateways.Connecting
	case "ESTABLISHED":
		return gateways.Established
	case "CLOSING", "CLOSED":
		return gateways.IKEClosing
	}
	return gateways.IKEUnknown
}

// null reports whether a pointer is missing or null.
func null(pointer string) bool { return pointer == "" || pointer == "0x0" || pointer == "(nil)" }

// host reads address:port, [address]:port, or "any".
func host(s string) netip.Addr {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr()
	}
	a, _ := netip.ParseAddr(s)
	return a
}

// parseStats reads `ikectl show stats`, a number and its label per line. It keeps the counters of
// failures and lost packets.
func parseStats(ctx context.Context, out string) []gateways.DeviceCounter {
	kinds := map[string]string{
		"IKE SA failed to establish":        "ike_failed",
		"failed proposal negotiation":       "ike_proposal_failed",
		"message could not be sent":         "ike_send_failed",
		"message dropped":                   "ike_message_dropped",
		"request retransmitted":             "ike_retransmitted",
		"response retransmitted":            "ike_retransmitted",
		"request timed out":                 "ike_timed_out",
		"fragment could not be sent":        "ike_fragment_send_failed",
		"fragment dropped":                  "ike_fragment_dropped",
		"fragment could not be reassembled": "ike_fragment_reassembly_failed",
	}
	var all []gateways.DeviceCounter
	for line := range gateways.Lines(ctx, out) {
		number, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		n := gateways.ParseCount(number)
		// One of something is written without the plural's s.
		what = strings.TrimSpace(strings.ReplaceAll(what+" ", "s ", " "))
		if kind, ok := kinds[what]; ok && n.Known {
			all = append(all, gateways.DeviceCounter{Kind: kind, Key: what, Value: n.Value})
		}
	}
	return all
}
