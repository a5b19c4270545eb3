// Package openiked reads the SAs of an OpenIKED daemon (iked) through its control program: `ikectl show sa` and `show stats`.
// The control socket speaks a private structure, so there is no other door. Neither command changes anything or shows a secret.
//
// iked knows IKEv2 only. It shows neither traffic, nor since when an SA is established, nor its own version. A responder's SA
// has no addresses until the peer has authenticated itself.
package openiked

import (
	"context"
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// Type is the type of these gateways in the configuration.
const Type = "openiked"

// Config says where the daemon is.
type Config struct {
	// Socket is iked's control socket, ikectl's own default if empty.
	Socket string
	// Ikectl is the program, where packages have it if empty.
	Ikectl string
	// PathMTU returns the path MTU that the kernel believes between an address of this host and a peer, 0 if it does not know; it
	// may be nil.
	PathMTU func(local, remote netip.Addr) int
}

// A Source is one daemon.
type Source struct {
	ikectl  gateways.Command
	pathMTU func(local, remote netip.Addr) int
}

var _ gateways.Source = (*Source)(nil)

// New makes a Source.
func New(c Config) *Source {
	s := &Source{pathMTU: c.PathMTU}
	s.ikectl.Paths = []string{"/usr/sbin/ikectl", "/usr/local/sbin/ikectl"}
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
	table := parseSAs(sas, s.pathMTU)
	if len(table.IKE) == 0 && table.Unparsed > 0 {
		return gateways.Table{}, errors.New("ikectl show sa: not an answer that is understood")
	}
	// Older versions have no statistics: then there are no counters.
	if stats, err := s.ikectl.Run(ctx, "show", "stats"); err == nil {
		table.Counters = parseStats(stats)
	}
	return table, ctx.Err()
}

// Close implements gateways.Source. Nothing is kept open.
func (s *Source) Close() error { return nil }

var (
	// iked_sas: 0x5.. rspi 0xd1.. ispi 0x71.. 10.0.0.3:500->10.0.0.1:500<FQDN/b.example.test>[10.9.9.1] ESTABLISHED r natt udpecap nexti 0x0 pol 0x5..
	// The identity may hold blanks; before version 7 there is none.
	ikeLine = regexp.MustCompile(`^iked_sas: (\S+) rspi (\S+) ispi (\S+) (\S+?)->(\S+?)(?:<(.*)>\[.*\])? ([A-Z_]+) ([ir])\b(.*?)(?: nexti (\S+|\(nil\)).*)?$`)
	//   sa_childsas: 0xf.. ESP 0xfb8cf58d in 10.0.0.1:4500 -> 10.0.0.3:500 (LA) B=0x0 P=0xfd.. @0xfd..
	childLine = regexp.MustCompile(`^sa_childsas: (\S+) (ESP|AH) (\S+) (in|out) (\S+) -> (\S+) \(([A-Z]*)\).* P=(\S+)`)
)

// known are the lines that say the same again, or nothing about SAs.
var known = []string{"iked_dstid_sas:", "iked_activesas:", "iked_flows:", "iked_ipcomp:", "sa_flows:", "sa_childsas:"}

// parseSAs reads `ikectl show sa`: a line per IKE SA, followed by those of its children, two each.
func parseSAs(out string, pathMTU func(local, remote netip.Addr) int) gateways.Table {
	t := gateways.Table{Info: gateways.Info{Type: Type}}
	var local netip.Addr
	natt := gateways.Unknown
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if m := ikeLine.FindStringSubmatch(line); m != nil {
			t.IKE = append(t.IKE, ikeSA(m))
			local = host(m[4])
			natt = gateways.AnswerOf(slices.Contains(strings.Fields(m[9]), "udpecap"))
			continue
		}
		m := childLine.FindStringSubmatch(line)
		switch {
		case m == nil:
			if line != "" && !slices.ContainsFunc(known, func(prefix string) bool { return strings.HasPrefix(line, prefix) }) {
				t.Unparsed++
			}
		case m[4] == "in" && len(t.IKE) > 0: // of the two, the one that says that packets can come in
			c := child(m, &t.IKE[len(t.IKE)-1])
			if c.State.Up() {
				c.NATT = natt
				if pathMTU != nil {
					c.PathMTU = pathMTU(local, c.Peer.Address)
				}
			}
			t.Children = append(t.Children, c)
		}
	}
	return t
}

func ikeSA(m []string) gateways.IKESA {
	sa := gateways.IKESA{
		Key: m[3] + " " + m[2], Peer: gateways.Identity{Address: host(m[5])}, Version: 2, State: ikeState(m[7]), VendorState: m[7],
		Initiator: m[8] == "i",
	}
	if _, id, ok := strings.Cut(m[6], "/"); ok {
		sa.Peer.ID = id
	}
	if next := m[10]; sa.State == gateways.Established && next != "" && next != "0x0" && next != "(nil)" {
		sa.State = gateways.IKERekeying // Its successor is being negotiated.
	}
	return sa
}

// child is a pair of SAs. Its flags: L it is in the kernel, R it is being replaced. P is its other half.
func child(m []string, ike *gateways.IKESA) gateways.ChildSA {
	c := gateways.ChildSA{Key: m[3], Peer: ike.Peer, State: gateways.Installing, VendorState: m[7]}
	switch {
	case ike.State == gateways.IKEClosing:
		c.State = gateways.ChildClosing
	case !strings.Contains(m[7], "L"), m[8] == "0x0", m[8] == "(nil)":
	case strings.Contains(m[7], "R"):
		c.State = gateways.ChildRekeying
	default:
		c.State = gateways.Installed
	}
	return c
}

// ikeState sorts the words of iked's ikev2_state_map.
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

// host reads address:port, [address]:port, or "any".
func host(s string) netip.Addr {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr()
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return a
	}
	return netip.Addr{}
}

// parseStats reads `ikectl show stats`: a number and what it counts a line. It takes what tells about failures and lost packets.
func parseStats(out string) []gateways.DeviceCounter {
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
	for line := range strings.Lines(out) {
		number, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseUint(number, 10, 64)
		what = strings.ReplaceAll(what+" ", "s ", " ") // One of something is written without the plural's s.
		what = strings.TrimSpace(what)
		if kind, ok := kinds[what]; ok && err == nil {
			all = append(all, gateways.DeviceCounter{Kind: kind, Key: what, Value: v})
		}
	}
	return all
}
