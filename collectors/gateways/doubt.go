package gateways

import (
	"fmt"
	"regexp"
	"slices"

	"ipsec_path_exporter/internal/untrusted"
)

// maxLine bounds a line of a gateway in a log or an error.
const maxLine = 160

// secretForm matches text that may be a password or a key.
var secretForm = regexp.MustCompile(`(?i)\b(pass\w*|secret|psk|(?:pre-shared-|authentication |encryption )?key)(\s*[:=]\s*|\s+)\S+|\b(?:0x)?[0-9a-f]{32,}\b`)

// Skip counts a line that no rule matches and that is not about an SA.
func (t *Table) Skip(line string) {
	if t.Unparsed++; t.FirstUnparsed == "" {
		t.FirstUnparsed = untrusted.Clip(untrusted.Line(secretForm.ReplaceAllString(line, "***")), maxLine)
	}
}

// SkipSA counts a line about an SA that was not understood. id is what the line shows reliably
// about the other end.
func (t *Table) SkipSA(line string, id Identity) {
	t.Skip(line)
	t.Doubt(id)
}

// Checked returns the table, or an error where there are SAs and none was understood, or more than
// may be read.
func (t Table) Checked() (Table, error) {
	if t.Full() {
		return Table{}, ErrTooMany
	}
	if len(t.Doubts) == 0 || slices.ContainsFunc(t.IKE, func(sa IKESA) bool { return sa.State != IKEUnknown }) ||
		slices.ContainsFunc(t.Children, func(sa ChildSA) bool { return sa.State != ChildUnknown }) {
		return t, nil
	}
	return Table{}, fmt.Errorf("SA table: no line about an SA is understood (first line: %q)", t.FirstUnparsed)
}

// doubts are the configured peers that may have SAs which the table does not show.
type doubts struct {
	all bool
	of  map[string]bool // by the peers' names
}

func (d *doubts) about(peer string) bool { return d.all || d.of[peer] }

// add takes an SA that was not understood, or that belongs to no peer and shows no address. If it
// shows the address of another host, it can only belong to a peer that is recognised by more than
// its address.
func (d *doubts) add(id *Identity, peers *Attribution) {
	i, ok := peers.find(id)
	switch {
	case ok:
		d.of[peers.peers[i].Name] = true
	case !id.Address.IsValid():
		d.all = true
	default:
		for _, name := range peers.roaming {
			d.of[name] = true
		}
	}
}
