package gateways

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestDoubts(t *testing.T) {
	peers := []Peer{
		{Name: "hq", Address: addr("192.0.2.1"), Expected: true},
		{Name: "branch", Address: addr("192.0.2.2"), Expected: true},
		{Name: "roaming", Address: addr("192.0.2.3"), Match: Match{IDs: []string{"road"}}, Expected: true},
		{Name: "up", Address: addr("192.0.2.4"), Expected: true},
	}
	up := at("192.0.2.4")
	for name, c := range map[string]struct {
		doubts []Identity
		ike    []IKESA
		child  []ChildSA
		want   string // of hq, branch, roaming and up
	}{
		"none":                         {want: "no no no yes"},
		"of any peer":                  {doubts: []Identity{{}}, want: "unknown unknown unknown yes"},
		"of one peer":                  {doubts: []Identity{at("192.0.2.2")}, want: "no unknown no yes"},
		"of another host":              {doubts: []Identity{at("198.51.100.9")}, want: "no no unknown yes"},
		"of a name":                    {doubts: []Identity{{Name: "site"}}, want: "unknown unknown unknown yes"},
		"of a known identity":          {doubts: []Identity{{ID: "road"}}, want: "no no unknown yes"},
		"in use by a name only":        {child: []ChildSA{installed(Identity{Name: "site"})}, want: "unknown unknown unknown yes"},
		"unknown state by a name only": {ike: []IKESA{{Peer: Identity{Name: "site"}, VendorState: "NEW"}}, want: "unknown unknown unknown yes"},
		"half open without an address": {ike: []IKESA{{State: Connecting}}, want: "no no no yes"},
		"in use by another host":       {ike: []IKESA{established(at("198.51.100.9"))}, want: "no no no yes"},
	} {
		table := Table{Doubts: c.doubts, IKE: append(c.ike, established(up)), Children: append(c.child, installed(up))}
		r := NewReading(&table, NewAttribution(peers), false)
		var got []string
		for _, p := range peers {
			got = append(got, r.Find(p.Name).Up.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

func TestSkippedLines(t *testing.T) {
	var table Table
	if _, err := table.Checked(); err != nil {
		t.Errorf("a table without SAs: %v", err)
	}
	table.Skip("state\x1b[31m pre-shared-key: hunter2 0123456789abcdef0123456789abcdef " + strings.Repeat("x", 500))
	table.SkipSA("second", Identity{})
	if first := table.FirstUnparsed; strings.Contains(first, "hunter2") || strings.Contains(first, "89abcdef") ||
		strings.Contains(first, "\x1b") || len(first) > maxLine || !strings.HasPrefix(first, "state") {
		t.Errorf("first line %q", first)
	}
	if _, err := table.Checked(); table.Unparsed != 2 || err == nil || !strings.Contains(err.Error(), "state") {
		t.Errorf("%d lines, %v", table.Unparsed, err)
	}
	table.IKE = []IKESA{established(at("192.0.2.1"))}
	if _, err := table.Checked(); err != nil {
		t.Errorf("a table with an SA: %v", err)
	}
}

// tables is a Source that returns one table after the other, an error in place of nil.
type tables []*Table

func (s *tables) Read(context.Context) (Table, error) {
	next := (*s)[0]
	*s = (*s)[1:]
	if next == nil {
		return Table{}, errors.New("not readable")
	}
	return *next, nil
}

func (*tables) Close() error { return nil }

// While an SA is not understood, an earlier tunnel is not counted as down, and the log names the
// line once.
func TestDoubtsOverReadings(t *testing.T) {
	id, other := at("192.0.2.1"), at("192.0.2.2")
	good := Table{IKE: []IKESA{established(id), established(other)}, Children: []ChildSA{installed(id), installed(other)}}
	odd := Table{}
	odd.SkipSA("#1: a line of tomorrow", Identity{})
	var text bytes.Buffer
	p := NewPoller(PollerConfig{
		Name: "gw", Source: &tables{&good, &odd, nil, &odd, &good, &odd, {}}, Interval: time.Minute, Timeout: time.Second,
		Log: slog.New(slog.NewTextHandler(&text, nil)),
	})
	p.SetPeers([]Peer{{Name: "hq", Address: id.Address, Expected: true}, {Name: "other", Address: other.Address}})
	for range 6 {
		p.Poll(t.Context())
	}
	for _, peer := range p.Snapshot().Peers {
		if peer.Downs != 0 {
			t.Errorf("%s: %d downs", peer.Peer, peer.Downs)
		}
	}
	h, _ := p.History("hq")
	s, ok := p.About("hq")
	if !ok || s.Peers[0].Up != Unknown || s.Peers[0].Downs != 0 || !h.NoSA().IsZero() || !h.ChildMissing().IsZero() || h.Readings().Known != 2 {
		t.Errorf("%+v, %+v", s.Peers, h.Readings())
	}
	if n := strings.Count(text.String(), "#1: a line of tomorrow"); n != 2 {
		t.Errorf("%d lines, want 2: %s", n, &text)
	}
	p.Poll(t.Context())
	if s, _ = p.About("hq"); s.Peers[0].Up != No || s.Peers[0].Downs != 1 {
		t.Errorf("without doubts: %+v", s.Peers)
	}
}
