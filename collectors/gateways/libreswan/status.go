package libreswan

import (
	"errors"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// errNotStatus says that the answer is none.
var errNotStatus = errors.New("whack --status shows no version of pluto: not an answer that is understood")

// A status is what `whack --status` shows.
type status struct {
	version     string
	connections map[string]*connection
	order       []string // their names
	states      []state
	unparsed    int
}

// A connection is a configured one, or the instance of one for one peer: its name is then "road"[2].
type connection struct {
	name          string
	local, remote netip.Addr
	host          string // the remote end, where that is configured by a name
	id            string
}

// A state is one SA, or the attempt to make one.
type state struct {
	serial     string // "#7"
	connection string
	address    netip.Addr // of an instance's peer
	port       int
	word       string
	tail       string // what comes after the word and its explanation
}

// Lines of the answer begin with a code ("000 ") that newer versions leave out. Names may hold anything but a quotation mark.
var (
	versionLine = regexp.MustCompile(`\bpluto_version=v?([^,\s]+)`)
	// "net": 10.2.0.0/24===198.51.100.2[@a]...192.0.2.2[@b]===10.1.0.0/24; erouted; eroute owner: #2
	// "road"[2] 203.0.113.9: ...
	connectionLine = regexp.MustCompile(`^"([^"]+)"(\[\d+\])?[^:]*?(?: [0-9a-fA-F.:]+)?: (\S.*?)\.\.\.([^;]*); `)
	// "net":   our idtype: ID_FQDN; our id=@a; their idtype: ID_FQDN; their id=@b.
	idLine = regexp.MustCompile(`^"([^"]+)"(\[\d+\])?.*; their id=(.*)$`)
	// #2: "net":500 STATE_QUICK_R2 (IPsec SA established); EVENT_SA_REPLACE in 28526s; newest IPSEC; isakmp#1; idle;
	// #3: "road"[2] 203.0.113.9:4500 ESTABLISHED_IKE_SA (established IKE SA); REKEY in 100s; newest; idle; and so on.
	stateLine = regexp.MustCompile(`^(#\d+): "([^"]+)"(\[\d+\])?(?: (?:\.\.\.)?(\S+?))?:(\d+) ([A-Z][A-Za-z0-9_]+) \((.*?)\);?(.*)$`)
	// What a state has further lines for: its SPIs, and children that wait for it.
	furtherLine = regexp.MustCompile(`^#\d+: ("[^"]+".* (?:esp|ah|comp|tun)\.|pending )`)
	codeOfLine  = regexp.MustCompile(`^\d{3} `)
)

func parseStatus(out string) *status {
	st := &status{connections: map[string]*connection{}}
	for line := range strings.Lines(out) {
		line = strings.TrimRight(codeOfLine.ReplaceAllString(strings.TrimLeft(line, " "), ""), " \r\n")
		switch {
		case strings.HasPrefix(line, "#"):
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

func (st *status) connection(line string) {
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

// end finds the host in one end of a connection: subnet===host<its address>[identity]:protocol/port---next hop, in this order
// on the left, and the other way round on the right. A host that is configured by its name has both, once pluto has resolved it. What is no
// single host is none.
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

// hostAddress reads an address, which may have a port.
func hostAddress(s string) (netip.Addr, bool) {
	for _, candidate := range []string{s, s[:max(0, strings.LastIndex(s, ":"))]} {
		if a, err := netip.ParseAddr(candidate); err == nil {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (st *status) state(line string) {
	m := stateLine.FindStringSubmatch(line)
	if m == nil {
		if !furtherLine.MatchString(line) {
			st.unparsed++
		}
		return
	}
	s := state{serial: m[1], connection: m[2] + m[3], word: m[6], tail: m[8]}
	s.port, _ = strconv.Atoi(m[5])
	if a, err := netip.ParseAddr(m[4]); err == nil {
		s.address = a
	}
	st.states = append(st.states, s)
}

// found lists the peers. Instances of a connection are no peers: they are of those who connected, road warriors and whoever tries.
func (st *status) found() []gateways.Found {
	active := map[string]bool{}
	for i := range st.states {
		if s := &st.states[i]; isChild(s.word) && childState(s.word).Up() || !isChild(s.word) && ikeState(s.word) == gateways.Established {
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

// identity is who is at the other end of an SA, and from which of our addresses.
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
