package ciscoasa

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"ipsec_path_exporter/collectors/gateways"
)

// A transport runs one command at a time on a device.
type transport interface {
	// run returns what the device answers to a command, without prompt and echo. It ends with its context.
	run(ctx context.Context, command string) (string, error)
	// close ends what run has kept open. It may be called while run runs.
	close() error
}

// errRefused is a command that the device does not know or does not allow.
var errRefused = errors.New("command refused")

// askAgainAfter is how long a refusal is believed: a device may be upgraded, and its rights be changed.
const askAgainAfter = time.Hour

// A device is what is read over a transport, the same for all of them.
type device struct {
	over transport
	// expected is the platform of the configuration, used where `show version` does not tell.
	expected platform

	platform platform
	version  string
	asked    time.Time       // when the version was asked for
	refused  map[string]bool // commands, since then
}

// read makes one reading.
func (d *device) read(ctx context.Context) (gateways.Table, error) {
	if err := d.identify(ctx); err != nil {
		return gateways.Table{}, err
	}
	r := &result{now: time.Now(), platform: d.platform, table: gateways.Table{Info: gateways.Info{Type: d.platform.typeName(), Version: d.version}}}
	read := d.readASA
	if d.platform == platformIOS {
		read = d.readIOS
	}
	if err := read(ctx, r); err != nil {
		return gateways.Table{}, err
	}
	if err := r.assemble(); err != nil {
		return gateways.Table{}, err
	}
	return r.table, nil
}

// identify asks what the device is, once an hour.
func (d *device) identify(ctx context.Context) error {
	if !d.asked.IsZero() && time.Since(d.asked) < askAgainAfter {
		return nil
	}
	d.refused = map[string]bool{}
	raw, err := d.ask(ctx, "show version")
	if err != nil && !errors.Is(err, errRefused) {
		return err
	}
	d.platform, d.version = parseVersion(raw)
	if d.platform == platformUnknown {
		d.platform = d.expected
	}
	d.asked = time.Now()
	return nil
}

// ask returns the answer to the first command that the device does not refuse. An ASA always says something about SAs: an
// empty answer is as good as a refusal, but it is not remembered.
func (d *device) ask(ctx context.Context, commands ...string) (string, error) {
	var said error
	for _, c := range commands {
		if d.refused[c] {
			continue
		}
		raw, err := d.over.run(ctx, c)
		if err != nil && !errors.Is(err, errRefused) {
			return "", err
		}
		if err == nil {
			if reply := refused(answerLines(raw)); reply != "" {
				err = fmt.Errorf("%w: %s: %q", errRefused, c, shorten(reply))
			}
		}
		switch {
		case err != nil:
			said = errors.Join(said, err)
			d.refused[c] = true
		case strings.TrimSpace(raw) != "" || d.platform == platformIOS:
			return raw, nil
		}
	}
	if said == nil {
		said = fmt.Errorf("%w: nothing is answered to %q", errRefused, commands)
	}
	return "", said
}

// shorten makes a device's words fit for an error.
func shorten(s string) string {
	const most = 120
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// optional asks for something that a reading can do without.
func (d *device) optional(ctx context.Context, commands ...string) (string, error) {
	raw, err := d.ask(ctx, commands...)
	if errors.Is(err, errRefused) {
		return "", nil
	}
	return raw, err
}

// readASA reads an ASA, or FTD, which answers the same.
func (d *device) readASA(ctx context.Context, r *result) error {
	raw, err := d.ask(ctx, "show crypto isakmp sa detail", "show crypto isakmp sa", "show crypto ikev1 sa detail", "show crypto ikev1 sa")
	if err != nil && !errors.Is(err, errRefused) {
		return err
	}
	r.addIKE(raw)
	if !strings.Contains(raw, "IKEv2") && (raw == "" || strings.Contains(raw, "IKEv1")) {
		v2, v2err := d.optional(ctx, "show crypto ikev2 sa detail", "show crypto ikev2 sa")
		if v2err != nil {
			return v2err
		}
		r.addIKE(v2)
	}
	if !r.ike.recognised {
		return errors.Join(err, errors.New("the device's table of IKE SAs is not readable"))
	}
	if raw, err = d.ask(ctx, "show crypto ipsec sa"); err != nil {
		return err
	}
	r.ipsec = parseIPsec(raw)
	for _, further := range []struct {
		commands []string
		take     func(string)
	}{
		{[]string{"show vpn-sessiondb l2l"}, r.addSessions},
		{[]string{"show vpn-sessiondb ra-ikev1-ipsec", "show vpn-sessiondb remote"}, r.addSessions},
		{[]string{"show vpn-sessiondb summary", "show vpn-sessiondb"}, r.addSessions},
		{[]string{"show crypto ipsec stats"}, r.addStats("ipsec")},
		{[]string{"show crypto isakmp stats", "show crypto ikev1 stats", "show crypto protocol statistics ikev1"}, r.addStats("isakmp")},
		{[]string{"show fragment"}, r.addFragments},
	} {
		raw, err := d.optional(ctx, further.commands...)
		if err != nil {
			return err
		}
		further.take(raw)
	}
	return nil
}

// readIOS reads IOS or IOS-XE, which say nothing where there are no SAs.
func (d *device) readIOS(ctx context.Context, r *result) error {
	raw, err := d.ask(ctx, "show crypto isakmp sa")
	if err != nil {
		return err
	}
	if r.addIKE(raw); !r.ike.recognised && strings.TrimSpace(raw) != "" {
		return errors.New("the device's table of IKE SAs is not readable")
	}
	if raw, err = d.optional(ctx, "show crypto ikev2 sa detailed", "show crypto ikev2 sa detail", "show crypto ikev2 sa"); err != nil {
		return err
	}
	r.addIKE(raw)
	if raw, err = d.ask(ctx, "show crypto ipsec sa"); err != nil {
		return err
	}
	r.ipsec = parseIPsec(raw)
	if raw, err = d.optional(ctx, "show crypto session detail"); err != nil {
		return err
	}
	t := parseIOSSessions(raw)
	r.sessions.sessions, r.table.Unparsed = t.sessions, r.table.Unparsed+t.unparsed
	return nil
}

// result is one reading in the making.
type result struct {
	now      time.Time
	platform platform
	table    gateways.Table
	ike      ikeTable
	ipsec    ipsecTable
	sessions sessionTable
	who      people
}

func (r *result) addIKE(raw string) {
	t := parseIKE(raw)
	r.ike.sas = append(r.ike.sas, t.sas...)
	r.ike.recognised = r.ike.recognised || t.recognised
	r.ike.total = max(0, r.ike.total) + max(0, t.total)
	r.table.Unparsed += t.unparsed
}

func (r *result) addSessions(raw string) {
	t := parseSessions(raw)
	r.sessions.sessions = append(r.sessions.sessions, t.sessions...)
	r.table.Unparsed += t.unparsed
	if len(t.active) > 0 {
		r.table.Sessions = t.active
	}
}

func (r *result) addStats(key string) func(string) {
	return func(raw string) { r.addCounters(parseStats(raw, key)) }
}

func (r *result) addFragments(raw string) { r.addCounters(parseFragments(raw)) }

func (r *result) addCounters(t counterTable) {
	r.table.Counters = append(r.table.Counters, t.counters...)
	r.table.Unparsed += t.unparsed
}

// assemble joins what the outputs say about the same peer.
func (r *result) assemble() error {
	if r.ike.total > 0 && len(r.ike.sas) == 0 {
		return fmt.Errorf("the device counts %d IKE SAs, and none of its lines is understood", r.ike.total)
	}
	r.table.Unparsed += r.ipsec.unparsed
	locals := map[netip.Addr]bool{}
	for _, e := range r.ipsec.entries {
		locals[e.local] = true
		r.who.learn(e.Peer)
	}
	for _, s := range r.sessions.sessions {
		locals[s.local] = true
		r.who.learn(s.Identity)
	}
	for _, sa := range r.ike.sas {
		locals[sa.local] = true
		sa.resolve(locals)
		r.who.learn(sa.Peer)
	}
	for _, sa := range r.ike.sas {
		r.addSA(sa)
	}
	r.addChildren()
	for _, s := range r.sessions.sessions {
		if s.index != "" {
			r.table.Flows = append(r.table.Flows, gateways.Flow{Key: "session " + s.index, Peer: r.who.complete(s.Identity), In: s.in, Out: s.out})
		}
	}
	return nil
}

// resolve finds out which end of an IKEv1 SA of IOS is the peer: the one that is not ours. Where nothing tells, it is the
// responder's address, which is right for a branch that dials in, and the other for a hub.
func (sa *ikeSA) resolve(locals map[netip.Addr]bool) {
	if sa.dst == "" {
		return
	}
	dst, src := identity(sa.dst), identity(sa.src)
	sa.Initiator = !locals[dst.Address] || !dst.Address.IsValid()
	if locals[src.Address] && src.Address.IsValid() {
		sa.Initiator = true
	}
	if sa.Peer = src; sa.Initiator {
		sa.Peer = dst
	}
}

func (r *result) addSA(sa *ikeSA) {
	if sa.hasAge && sa.State.Up() {
		sa.Established = r.now.Add(-sa.age)
	}
	sa.Peer = r.who.complete(sa.Peer)
	r.table.IKE = append(r.table.IKE, sa.IKESA)
}

// addChildren takes the entries that have SAs, and the counters of all. The device's own sums are better than the sum over
// entries, which come and go.
func (r *result) addChildren() {
	counted := map[string]bool{}
	for _, c := range r.table.Counters {
		counted[c.Kind] = true
	}
	for _, e := range r.ipsec.entries {
		for label, v := range e.counters {
			if k := perEntry[label]; k != "" && !counted[k] {
				r.table.Counters = append(r.table.Counters, gateways.DeviceCounter{Kind: k, Key: e.Key, Value: v})
			}
		}
		if !e.empty() {
			e.Peer = r.who.complete(e.Peer)
			r.table.Children = append(r.table.Children, e.ChildSA)
		}
	}
}

// people are the identities that a device shows in one place and not in another: behind an address, or behind a name.
type people struct {
	byAddress map[netip.Addr]*person
	byName    map[string]*person
}

// person is who was seen in one place. Behind a NAT there may be several: then nothing is known about any.
type person struct {
	gateways.Identity
	mixed gateways.Identity // not empty where several were seen
}

// learn takes in what one output shows.
func (p *people) learn(id gateways.Identity) {
	if p.byAddress == nil {
		p.byAddress, p.byName = map[netip.Addr]*person{}, map[string]*person{}
	}
	if id.Address.IsValid() {
		seen := p.byAddress[id.Address]
		if seen == nil {
			seen = &person{}
			p.byAddress[id.Address] = seen
		}
		seen.add(id)
	}
	if id.Name != "" {
		seen := p.byName[id.Name]
		if seen == nil {
			seen = &person{}
			p.byName[id.Name] = seen
		}
		seen.add(id)
	}
}

func (s *person) add(id gateways.Identity) {
	if id.Address.IsValid() && !s.Address.IsValid() {
		s.Address = id.Address
	}
	for _, f := range [...]struct{ have, mixed, new *string }{
		{&s.ID, &s.mixed.ID, &id.ID},
		{&s.Username, &s.mixed.Username, &id.Username},
		{&s.Group, &s.mixed.Group, &id.Group},
		{&s.Name, &s.mixed.Name, &id.Name},
	} {
		switch {
		case *f.new == "" || *f.new == *f.have:
		case *f.have == "":
			*f.have = *f.new
		default:
			*f.mixed = *f.new
		}
	}
}

// complete adds what is known about who is at the same place.
func (p *people) complete(id gateways.Identity) gateways.Identity {
	seen := p.byAddress[id.Address]
	if !id.Address.IsValid() {
		seen = p.byName[id.Name]
	}
	if seen == nil {
		return id
	}
	if !id.Address.IsValid() {
		id.Address = seen.Address
	}
	for _, f := range [...]struct{ to, from, mixed *string }{
		{&id.ID, &seen.ID, &seen.mixed.ID},
		{&id.Username, &seen.Username, &seen.mixed.Username},
		{&id.Group, &seen.Group, &seen.mixed.Group},
		{&id.Name, &seen.Name, &seen.mixed.Name},
	} {
		if *f.to == "" && *f.mixed == "" {
			*f.to = *f.from
		}
	}
	return id
}
