package libreswan

import (
	"context"
	"errors"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

var errNotStatus = errors.New("whack --status: output is not understood: it shows no version of pluto")

// A status is what `whack --status` shows.
type status struct {
	version     string
	connections map[string]*connection
	order       []string // their names
	states      []state
	table       gateways.Table    // the lines that were not understood
	shown       map[string]bool   // serial numbers that have a line of their own
	spis        map[string]bool   // and the ones that have SPIs, so they are children
	implied     map[string]*state // SAs that other lines name, by serial number
}

// A connection is a configured one, or the instance of one for a peer: then it is "road"[2].
type connection struct {
	name          string
	local, remote netip.Addr
	host          string // the remote end, where that is configured by a name
	id            string
}

// A state is one SA, or the attempt to make one.
type state struct {
	class
	serial     string // "#7"
	connection string
	address    netip.Addr // of an instance's peer
	port       int
	tcp        bool
	word       string // the name of the state, or its description
	initiator  bool
	parent     string // of a child: the serial number of its IKE SA, "" if it shows none
}

// Lines of the answer begin with a code ("000 ") that newer versions leave out. Names may hold
// anything but a quotation mark. The instance of a labeled connection has two numbers.
var (
	versionLine = regexp.MustCompile(`\bpluto_version=v?([^,\s]+)`)
	// "net": 10.2.0.0/24===198.51.100.2[@a]...192.0.2.2[@b]===10.1.0.0/24; erouted; eroute owner:
	// #2 "road"[2] 203.0.113.9: ...
	connectionLine = regexp.MustCompile(`^"([^"]+)"((?:\[\d+\])*)[^:]*?(?: [0-9a-fA-F.:]+)?: (\S.*?)\.\.\.([^;]*); `)
	// "net":   our idtype: ID_FQDN; our id=@a; their idtype: ID_FQDN; their id=@b.
	idLine = regexp.MustCompile(`^"([^"]+)"((?:\[\d+\])*).*; their id=(.*)$`)
	// "net":   newest IKE SA: #1; newest Child SA: #2; also "eroute owner: #2", "owner: Child SA #2".
	ownerForm = regexp.MustCompile(`\b(?:SA|owner):? (#[1-9]\d*)`)
	// #2: "net":500, #3: "road"[2] 203.0.113.9:4500, #4: "labeled"[1][1] 192.0.2.2:500,
	// #5: "clear#192.0.2.0/24"[1] 10.0.0.1/32=== ...192.0.2.2===10.1.0.0/24:4500(tcp).
	stateHead = regexp.MustCompile(`^(#\d+): "([^"]+)"((?:\[\d+\])*)(?: (.*?))?:(\d+)(\(tcp\))? (.*)$`)
	// STATE_QUICK_R2 (IPsec SA established); EVENT_SA_REPLACE in 28526s; newest IPSEC; isakmp#1; idle.
	namedState = regexp.MustCompile(`^([A-Z][A-Za-z0-9_]+) \((.*?)\);(.*)$`)
	// established IKE SA; REKEY in 100s; newest; idle.
	describedState = regexp.MustCompile(`^([^;]+);(.*)$`)
	// What a state has further lines for: its SPIs, and children that wait for it.
	furtherLine = regexp.MustCompile(`^(#\d+): (?:"([^"]+)"((?:\[\d+\])*).*?(?:( (?:esp|ah|comp|tun)\.)| ref=\d| Traffic:)|pending )`)
	// saLine also matches a line about a state that has lost its first character.
	saLine = regexp.MustCompile(`^(?:#|.?\d+: ")`)
	// parentForm is the IKE SA that a child belongs to, #0 for an IKE SA.
	parentForm = regexp.MustCompile(`; (?:isakmp|(?:ISAKMP|IKE) SA )(#[1-9]\d*);`)
	codeOfLine = regexp.MustCompile(`^\d{3} `)
	// initiatorForm matches names and descriptions that only an initiator has.
	initiatorForm = regexp.MustCompile(`_I\d*$|^sent .*(?: request|v2I\d.*|[MAQ]I\d.*|Mode I\d)$|initiator|client`)
)

func parseStatus(ctx context.Context, out string) *status {
	st := &status{connections: map[string]*connection{}, shown: map[string]bool{}, spis: map[string]bool{}, implied: map[string]*state{}}
	for line := range gateways.Lines(ctx, out) {
		line = strings.TrimRight(codeOfLine.ReplaceAllString(strings.TrimLeft(line, " "), ""), " \r\n")
		switch {
		case st.full():
			return st
		case saLine.MatchString(line):
			st.state(line)
		case strings.HasPrefix(line, `"`):
			st.connection(line)
		case st.version == "":
			if m := versionLine.FindStringSubmatch(line); m != nil {
				st.version = m[1]
			}
		}
	}
	return st
}

// full reports whether the answer shows more than may be read.
func (st *status) full() bool {
	return len(st.states)+len(st.connections)+len(st.shown)+len(st.implied) >= gateways.MaxSAs
}

func (st *status) connection(line string) {
	if head, rest, _ := strings.Cut(line[1:], `"`); head != "" {
		number, _, _ := strings.Cut(rest, " ")
		for _, m := range ownerForm.FindAllStringSubmatch(rest, -1) {
			st.implies(m[1], head+strings.TrimSuffix(number, ":"))
		}
	}
	if m := connectionLine.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[3], "  ") {
		c := &connection{name: m[1]}
		_, c.local = end(m[3], true)
		c.host, c.remote = end(m[4], false)
		if _, known := st.connections[m[1]+m[2]]; !known {
			st.order = append(st.order, m[1]+m[2])
		}
		st.connections[m[1]+m[2]] = c
		return
	}
	if m := idLine.FindStringSubmatch(line); m != nil {
		if c := st.connections[m[1]+m[2]]; c != nil && m[3] != "%any" && m[3] != "(none)" && m[3] != "%fromcert" {
			c.id = m[3]
		}
	}
}

// end finds the host in one end of a connection: subnet===host<its
// address>[identity]:protocol/port---next hop, in this order on the left, and reversed on the
// right. A host that is configured by name has both, once pluto has resolved the name. An end that
// is not a single host has none.
func end(s string, left bool) (name string, address netip.Addr) {
	host, hop := s, "---"
	if left {
		if _, after, ok := strings.Cut(host, "==="); ok {
			host = after
		}
		host, _, _ = strings.Cut(host, hop)
	} else {
		host, _, _ = strings.Cut(host, "===")
		if _, after, ok := strings.Cut(host, hop); ok {
			host = after
		}
	}
	host, _, _ = strings.Cut(host, "[")
	host, other, _ := strings.Cut(host, "<")
	other, _, _ = strings.Cut(other, ">")
	for _, part := range []string{other, host} {
		if a, ok := hostAddress(part); ok {
			address = a
		} else if name == "" && !strings.HasPrefix(part, "%") && !strings.ContainsAny(part, "/ ") {
			name, _, _ = strings.Cut(part, ":")
		}
	}
	if address.IsUnspecified() {
		address = netip.Addr{}
	}
	return name, address
}

func hostAddress(s string) (netip.Addr, bool) {
	for _, candidate := range []string{s, s[:max(0, strings.LastIndex(s, ":"))]} {
		if a, err := netip.ParseAddr(candidate); err == nil {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (st *status) state(line string) {
	if m := furtherLine.FindStringSubmatch(line); m != nil {
		st.implies(m[1], m[2]+m[3])
		st.spis[m[1]] = st.spis[m[1]] || m[4] != ""
		return
	}
	m := stateHead.FindStringSubmatch(line)
	if m == nil {
		st.table.SkipSA(line, gateways.Identity{})
		return
	}
	s := state{serial: m[1], connection: m[2] + m[3], tcp: m[6] != "", address: peerOf(m[4])}
	s.port, _ = strconv.Atoi(m[5])
	st.shown[s.serial] = true
	tail, known := s.read(m[7])
	if !known {
		id, _ := st.identity(&s)
		st.table.SkipSA(line, id)
	}
	if s.word == "" {
		return
	}
	if p := parentForm.FindStringSubmatch(tail); p != nil {
		s.parent = p[1]
		st.implies(p[1], s.connection)
		st.spis[s.serial] = st.spis[s.serial] || s.ike == gateways.Established
	}
	st.states = append(st.states, s)
}

// read reads what follows the port. It returns what follows the state, and whether the state is
// known.
func (s *state) read(text string) (tail string, known bool) {
	if m := namedState.FindStringSubmatch(text); m != nil {
		s.word, tail = m[1], m[3]
		s.class, known = classify(m[1], m[2])
	} else if m := describedState.FindStringSubmatch(text); m != nil {
		if s.class, known = classify(m[1]); known { // Other text may vary, and the word becomes a label value.
			s.word, tail = m[1], m[2]
		}
	}
	s.initiator = initiatorForm.MatchString(s.word)
	return tail, known
}

// implies takes note of an SA that must have a line of its own.
func (st *status) implies(serial, connection string) {
	if st.implied[serial] == nil {
		st.implied[serial] = &state{serial: serial, connection: connection}
	}
}

// peerOf returns the address of an instance's peer: 203.0.113.9, or 10.0.0.1/32=== ...203.0.113.9===10.1.0.0/24
// of an opportunistic connection.
func peerOf(s string) netip.Addr {
	if _, after, ok := strings.Cut(s, "..."); ok {
		s, _, _ = strings.Cut(after, "===")
	}
	a, _ := netip.ParseAddr(s)
	return a
}

// found lists the peers. Instances of a connection are not peers: they belong to clients that
// connected, such as road warriors.
func (st *status) found() []gateways.Found {
	active := map[string]bool{}
	for i := range st.states {
		if s := &st.states[i]; s.inst.Up() || s.ike == gateways.Established {
			active[s.connection] = true
		}
	}
	var found []gateways.Found
	for _, name := range st.order {
		if c := st.connections[name]; name == c.name && (c.remote.IsValid() || c.host != "") {
			found = append(found, gateways.Found{Address: c.remote, Host: c.host, Name: c.name, Local: c.local, Active: active[name]})
		}
	}
	return gateways.Merge(found)
}

func (st *status) identity(s *state) (id gateways.Identity, local netip.Addr) {
	name, _, _ := strings.Cut(s.connection, "[")
	id = gateways.Identity{Name: name, Group: name, Address: s.address}
	c := st.connections[s.connection]
	if c == nil {
		c = st.connections[name]
	}
	if c != nil {
		id.ID, local = c.id, c.local
		if !id.Address.IsValid() {
			id.Address = c.remote
		}
	}
	return id, local
}
