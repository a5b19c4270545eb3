package trace

import (
	"encoding/json"
	"testing"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/schematest"
)

// TestSchema holds the JSON of probes of every kind to docs/schemas/evidence.schema.json.
func TestSchema(t *testing.T) {
	schema := schematest.Open("evidence")
	probes := recorded()
	esp := probes[len(probes)-1]
	esp.packet.Protocol = netio.ESP
	for name, ring := range map[string]*Ring{"snapped": NewRecorder(DefaultBytes).Open(), "whole": NewRing(DefaultBytes)} {
		for _, s := range append(probes, esp) {
			ring.Watch(s).Send(t.Context(), &s.packet, s.timeout, func(netio.Answer) {})
		}
		text, err := json.Marshal(ring.Exchanges())
		if err != nil {
			t.Fatal(err)
		}
		schema.Check(t, name, text)
	}
	schema.AllUsed(t)
}
