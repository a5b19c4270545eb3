package check

import (
	"context"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/resolve"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
)

// names are the addresses of a peer that is configured by name.
type names struct {
	lookedUp time.Time
	all      []resolve.Address // in the order in which they are tried
	tried    []*examination    // of those that are not measured
}

// open makes the examination of a peer at the address to measure. Of the addresses of a name it is
// the first one that this host can send to; where that one does not answer, the next one that does.
func (c *checker) open(ctx context.Context, cfg config.Peer) (*examination, error) {
	m := c.examine(ctx, cfg)
	if cfg.Addr.IsValid() {
		return m, nil
	}
	all, err := resolve.All(ctx, c.resolver, m.Route, &cfg)
	if err != nil {
		return nil, err
	}
	lookedUp := time.Now()
	var tried []*examination
	chosen := 0
	for i, a := range resolve.Usable(all) {
		one := c.examine(ctx, cfg)
		one.SetAddress(a.Addr)
		tried = append(tried, one)
		if one.answers(ctx) {
			chosen = i
			break
		}
	}
	m = tried[chosen]
	m.names = names{lookedUp: lookedUp, all: all, tried: slices.Delete(tried, chosen, chosen+1)}
	return m, nil
}

// answers asks the address whether it answers, by fresh flows too before it is called silent.
func (m *examination) answers(ctx context.Context) bool {
	var state diagnosis.State
	for _, by := range []suite.Set{suite.Reach(), suite.NewSet(suite.Flows)} {
		m.round(ctx, by, firstLook)
		m.asked |= by
		facts := m.facts()
		if state, _ = facts.Answers(); state != diagnosis.Absent {
			break
		}
	}
	return state == diagnosis.Holds
}

// others are the other addresses that were tried.
func (n *names) others() (out []diagnosis.Other) {
	for _, m := range n.tried {
		facts := m.facts()
		o := diagnosis.Other{Address: facts.Address, Evidence: facts.Reach()}
		o.State, o.At = facts.Answers()
		o.Reason = strings.Join(m.unmeasured(), "; ")
		out = append(out, o)
	}
	return out
}

// tryAgain asks the other addresses again.
func (n *names) tryAgain(ctx context.Context) {
	for _, m := range n.tried {
		m.round(ctx, suite.Reach(), secondLook)
	}
}

// describe adds the other addresses to a report.
func (n *names) describe(r *report.Report) {
	r.Addresses = subject.OtherAddresses(n.all, n.others(), r.Address)
}
