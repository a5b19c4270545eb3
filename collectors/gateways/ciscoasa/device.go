package ciscoasa

import (
	"cmp"
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
	// run returns the answer to a command, without prompt and echo. It ends with its context.
	run(ctx context.Context, command string) (string, error)
	// close ends the connection that run has kept open. It may be called while run runs.
	close() error
}

var errRefused = errors.New("command refused")

// askAgainAfter is how long a refused command is not sent again: a device may be upgraded, and its
// permissions may change.
const askAgainAfter = time.Hour

// A device is read over a transport; the commands are the same for all transports.
type device struct {
	over transport
	// expected is the platform of the configuration, used where `show version` does not name one.
	expected platform
	// clean removes secrets from a line; it is nil where no secret is known.
	clean func(string) string

	platform platform
	version  string
	asked    time.Time       // when the version was asked for
	refused  map[string]bool // commands, since then
}

func (d *device) read(ctx context.Context) (gateways.Table, error) {
	if err := d.identify(ctx); err != nil {
		return gateways.Table{}, err
	}
	r := &result{now: time.Now(), who: people{}, clean: d.clean}
	r.table.Info = gateways.Info{Type: d.platform.typeName(), Version: d.version}
	read := d.readASA
	if d.platform == platformIOS {
		read = d.readIOS
	}
	if err := read(ctx, r); err != nil {
		return gateways.Table{}, err
	}
	if err := ctx.Err(); err != nil {
		return gateways.Table{}, fmt.Errorf("the device's answers take too long to parse: %w", err)
	}
	if err := r.assemble(); err != nil {
		return gateways.Table{}, err
	}
	return r.table, nil
}

// identify asks for the platform and version of the device, once an hour.
func (d *device) identify(ctx context.Context) error {
	if !d.asked.IsZero() && time.Since(d.asked) < askAgainAfter {
		return nil
	}
	d.refused = map[string]bool{}
	raw, err := d.ask(ctx, "show version")
	if err != nil && !errors.Is(err, errRefused) {
		return err
	}
	platform, version := parseVersion(ctx, raw)
	if err := ctx.Err(); err != nil { // it may have ended before the line with the version
		return fmt.Errorf("show version: %w", err)
	}
	d.platform, d.version = platform, version
	d.platform = cmp.Or(d.platform, d.expected)
	d.asked = time.Now()
	return nil
}

// ask returns the answer to the first command that the device does not refuse. An ASA always prints
// something about SAs, so an empty answer counts as a refusal, but it is not remembered.
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
		if strings.Count(raw, "\n") > maxLines {
			return "", fmt.Errorf("the device answers %q with more than %d lines", c, maxLines)
		}
		if err == nil {
			if reply := refused(answerLines(ctx, raw)); reply != "" {
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
		said = fmt.Errorf("%w: no answer to %q", errRefused, commands)
	}
	return "", said
}

func shorten(s string) string {
	const most = 120
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// optional returns "" where the device refuses all commands.
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
	r.addIKE(ctx, raw)
	if !strings.Contains(raw, "IKEv2") && (raw == "" || strings.Contains(raw, "IKEv1")) {
		v2, v2err := d.optional(ctx, "show crypto ikev2 sa detail", "show crypto ikev2 sa")
		if v2err != nil {
			return v2err
		}
		r.addIKE(ctx, v2)
	}
	if !r.ike.recognised {
		return errors.Join(err, errors.New("the device's table of IKE SAs is not readable"))
	}
	if raw, err = d.ask(ctx, "show crypto ipsec sa"); err != nil {
		return err
	}
	r.ipsec = parseIPsec(ctx, raw)
	for _, further := range []struct {
		commands []string
		take     func(context.Context, string)
	}{
		{[]string{"show vpn-sessiondb l2l"}, r.addSessions},
		{[]string{"show vpn-sessiondb ra-ikev1-ipsec", "show vpn-sessiondb remote"}, r.addSessions},
		{[]string{"show vpn-sessiondb summary", "show vpn-sessiondb"}, r.addSessions},
		{[]string{"show crypto ipsec stats"}, func(ctx context.Context, raw string) { r.addCounters(parseStats(ctx, raw, "ipsec")) }},
		{
			[]string{"show crypto isakmp stats", "show crypto ikev1 stats", "show crypto protocol statistics ikev1"},
			func(ctx context.Context, raw string) { r.addCounters(parseStats(ctx, raw, "isakmp")) },
		},
		{[]string{"show fragment"}, func(ctx context.Context, raw string) { r.addCounters(parseFragments(ctx, raw)) }},
	} {
		raw, err := d.optional(ctx, further.commands...)
		if err != nil {
			return err
		}
		further.take(ctx, raw)
	}
	return nil
}

// readIOS reads IOS or IOS-XE, which print nothing where there are no SAs.
func (d *device) readIOS(ctx context.Context, r *result) error {
	raw, err := d.ask(ctx, "show crypto isakmp sa")
	if err != nil {
		return err
	}
	if r.addIKE(ctx, raw); !r.ike.recognised && strings.TrimSpace(raw) != "" {
		return errors.New("the device's table of IKE SAs is not readable")
	}
	if raw, err = d.optional(ctx, "show crypto ikev2 sa detailed", "show crypto ikev2 sa detail", "show crypto ikev2 sa"); err != nil {
		return err
	}
	r.addIKE(ctx, raw)
	if raw, err = d.ask(ctx, "show crypto ipsec sa"); err != nil {
		return err
	}
	r.ipsec = parseIPsec(ctx, raw)
	if raw, err = d.optional(ctx, "show crypto session detail"); err != nil {
		return err
	}
	t := parseIOSSessions(ctx, raw)
	r.sessions.sessions = t.sessions
	r.take(&t.unread)
	return nil
}

type result struct {
	now      time.Time
	clean    func(string) string
	table    gateways.Table
	ike      ikeTable
	ipsec    ipsecTable
	sessions sessionTable
	who      people
}

func (r *result) addIKE(ctx context.Context, raw string) {
	t := parseIKE(ctx, raw)
	r.ike.sas = append(r.ike.sas, t.sas...)
	r.ike.recognised = r.ike.recognised || t.recognised
	r.take(&t.unread)
}

func (r *result) addSessions(ctx context.Context, raw string) {
	t := parseSessions(ctx, raw)
	r.sessions.sessions = append(r.sessions.sessions, t.sessions...)
	r.take(&t.unread)
	if len(t.active) > 0 {
		r.table.Sessions = t.active
	}
}

func (r *result) addCounters(t counterTable) {
	r.table.Counters = append(r.table.Counters, t.counters...)
	r.take(&t.unread)
}

func (r *result) assemble() error {
	ike := gateways.Table{Doubts: r.table.Doubts, FirstUnparsed: r.table.FirstUnparsed}
	for _, sa := range r.ike.sas {
		ike.IKE = append(ike.IKE, sa.IKESA)
	}
	if _, err := ike.Checked(); err != nil {
		return err
	}
	if r.take(&r.ipsec.unread); len(r.ipsec.entries) == 0 && r.ipsec.unparsed() > 0 {
		return fmt.Errorf("table of child SAs: no line is understood (first line: %q)", r.table.FirstUnparsed)
	}
	locals := map[netip.Addr]bool{}
	for _, e := range r.ipsec.entries {
		locals[e.local] = e.local.IsValid()
		r.who.learn(e.Peer)
	}
	for _, s := range r.sessions.sessions {
		locals[s.local] = s.local.IsValid()
		r.who.learn(s.Identity)
	}
	for _, sa := range r.ike.sas {
		locals[sa.local] = sa.local.IsValid()
		if other := sa.resolve(locals); other != "" {
			r.table.Doubts = append(r.table.Doubts, identity(other))
		}
		r.who.learn(sa.Peer)
	}
	for _, sa := range r.ike.sas {
		if sa.hasAge && sa.State.Up() {
			sa.Established = r.now.Add(-sa.age)
		}
		sa.Peer = r.who.complete(sa.Peer)
		r.table.IKE = append(r.table.IKE, sa.IKESA)
	}
	r.addChildren()
	for _, s := range r.sessions.sessions {
		if s.index != "" {
			r.table.Flows = append(r.table.Flows, gateways.Flow{Key: "session " + s.index, Peer: r.who.complete(s.Identity), In: s.in, Out: s.out})
		}
	}
	return nil
}

// resolve sets which end of an IKEv1 SA of IOS is the peer: the end that is not this device. Where
// that is unknown, it is the responder, as for a branch that dials in, and the other end is returned.
func (sa *ikeSA) resolve(locals map[netip.Addr]bool) (other string) {
	if sa.dst == "" {
		return ""
	}
	dst, src := identity(sa.dst), identity(sa.src)
	sa.Initiator = !locals[dst.Address] || locals[src.Address]
	if sa.Peer = src; sa.Initiator {
		sa.Peer = dst
	}
	if locals[dst.Address] == locals[src.Address] && sa.State != gateways.IKEClosing {
		return sa.src
	}
	return ""
}

// addChildren takes the entries that have SAs, and the counters of all entries. The device's own
// sums are better than the sum over entries, which come and go.
func (r *result) addChildren() {
	counted, withIKE := map[string]bool{}, map[gateways.Identity]bool{}
	for i := range r.table.IKE {
		withIKE[key(&r.table.IKE[i].Peer)] = true
	}
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
		// Without an IKE SA, its line was not understood, or IOS has deleted it and keeps the child.
		if e.State.Up() && !withIKE[key(&e.Peer)] {
			r.table.Doubts = append(r.table.Doubts, e.Peer)
		}
	}
}

// people are the identities that a device shows in one output and not in another, each by its
// address alone and by its name alone.
type people map[gateways.Identity]*person

// person is the identity seen at one address or name. Several peers may share an address behind a
// NAT; then a property that differs is unknown.
type person struct {
	gateways.Identity
	mixed gateways.Identity // not empty where several were seen
}

func (p people) learn(id gateways.Identity) {
	for _, key := range []gateways.Identity{{Address: id.Address}, {Name: id.Name}} {
		if key == (gateways.Identity{}) {
			continue
		}
		if p[key] == nil {
			p[key] = &person{}
		}
		p[key].add(id)
	}
}

// words are the properties of an identity apart from its address.
func words(id *gateways.Identity) [4]*string {
	return [...]*string{&id.ID, &id.Username, &id.Group, &id.Name}
}

func (s *person) add(id gateways.Identity) {
	if !s.Address.IsValid() {
		s.Address = id.Address
	}
	have, mixed := words(&s.Identity), words(&s.mixed)
	for i, word := range words(&id) {
		switch {
		case *word == "" || *word == *have[i]:
		case *have[i] == "":
			*have[i] = *word
		default:
			*mixed[i] = *word
		}
	}
}

// key is the address of an identity alone, or else its name alone.
func key(id *gateways.Identity) gateways.Identity {
	if id.Address.IsValid() {
		return gateways.Identity{Address: id.Address}
	}
	return gateways.Identity{Name: id.Name}
}

// complete adds the properties known about the identity at the same address or name.
func (p people) complete(id gateways.Identity) gateways.Identity {
	seen := p[key(&id)]
	if seen == nil {
		return id
	}
	if !id.Address.IsValid() {
		id.Address = seen.Address
	}
	known, mixed := words(&seen.Identity), words(&seen.mixed)
	for i, word := range words(&id) {
		if *word == "" && *mixed[i] == "" {
			*word = *known[i]
		}
	}
	return id
}
