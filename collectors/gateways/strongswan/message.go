package strongswan

import (
	"github.com/strongswan/govici/vici"

	"ipsec_path_exporter/collectors/gateways"
)

// A VICI message maps names to texts, lists of texts, and messages. Each function accepts a missing
// value and one of another kind.

func text(m *vici.Message, key string) string {
	s, _ := m.Get(key).(string)
	return s
}

func words(m *vici.Message, key string) []string {
	l, _ := m.Get(key).([]string)
	return l
}

func section(m *vici.Message, key string) *vici.Message {
	if s, ok := m.Get(key).(*vici.Message); ok && s != nil {
		return s
	}
	return vici.NewMessage()
}

func sections(m *vici.Message, f func(name string, s *vici.Message)) {
	for _, key := range m.Keys() {
		if s, ok := m.Get(key).(*vici.Message); ok && s != nil {
			f(key, s)
		}
	}
}

func count(m *vici.Message, key string) gateways.Count { return gateways.ParseCount(text(m, key)) }
