package check

import (
	"slices"
	"time"

	"ipsec_path_exporter/exporter/diagnosis"
)

// alike reports whether another peer was asked at the same address, by the same way, and in the same
// form, so that what is known of it holds for this one.
func (m *examination) alike(other *examination) bool {
	if other == nil || len(m.names.all) > 0 || len(m.Config.Gateways) > 0 {
		return false
	}
	t, o := m.Target(), other.Target()
	return t.Path == o.Path && t.IKE == o.IKE && m.Config.Collectors == other.Config.Collectors
}

// silent reports whether the peer was found to answer nothing.
func (m *examination) silent() bool { return m.heldSilent() != nil }

func (m *examination) heldSilent() *diagnosis.Held {
	held := m.Tracker.Held()
	i := slices.IndexFunc(held, func(h diagnosis.Held) bool { return h.Name == diagnosis.PeerSilent })
	if i < 0 {
		return nil
	}
	return &held[i]
}

// adopt takes what was found at a peer that is alike and silent, and confirmed there.
func (m *examination) adopt(other *examination) {
	m.found, m.failures, m.cut, m.started = other.found, other.failures, other.cut, other.started
	facts, silence := m.facts(), other.heldSilent()
	m.Tracker.Judge(silence.Since, facts) // the first verdict was then
	m.Tracker.Judge(time.Now(), facts)    // and this one rests on what was measured since
}
