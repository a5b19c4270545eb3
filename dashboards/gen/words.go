package main

import (
	"strconv"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Colours, of which each has one meaning on all boards.
const (
	good    = "green"
	notice  = "yellow"
	warning = "orange"
	bad     = "red"
	unknown = "text"
	neutral = "blue"
)

// A state is a value of a label or of a gauge, and how it looks.
type state struct {
	value, text, colour string
}

// mtuStates are those of ipsec_path_mtu_state.
func mtuStates() []state {
	return []state{
		{"clean", "clean", good},
		{"reduced", "reduced", notice},
		{"inconclusive", "inconclusive", unknown},
		{"unreachable", "unreachable", warning},
		{"black_hole", "BLACK HOLE", bad},
	}
}

// protocolStates are those of ipsec_path_protocol_state.
func protocolStates() []state {
	return []state{{"passes", "passes", good}, {"unknown", "unknown", unknown}, {"blocked", "BLOCKED", bad}}
}

// yesNo are the states of a gauge that is 1 or 0.
func yesNo(yes, no string) []state {
	return []state{{"0", no, bad}, {"1", yes, good}}
}

// diagnoses are those of ipsec_path_diagnosis, with what each means to users.
func diagnoses() []state {
	return []state{
		{"peer_silent", "peer_silent: nothing answers by any method", bad},
		{"icmp_blocked", "icmp_blocked: IKE answers, echo does not", notice},
		{"ike_refused", "ike_refused: nobody listens on the IKE port", bad},
		{"pmtu_black_hole", "pmtu_black_hole: large packets vanish without a word", bad},
		{"pmtu_black_hole_reverse", "pmtu_black_hole_reverse: large packets vanish on the way back", bad},
		{"tunnel_oversized", "tunnel_oversized: the gateway sends packets larger than what passes", bad},
		{"fragments_dropped", "fragments_dropped: IKE messages in IP fragments vanish", bad},
		{"udp500_blocked", "udp500_blocked: IKE is answered on UDP 4500 only", warning},
		{"udp4500_blocked", "udp4500_blocked: IKE is answered on UDP 500 only", warning},
		{"esp_blocked", "esp_blocked: something on the path drops ESP (IP protocol 50)", bad},
		{"esp_one_way", "esp_one_way: the tunnel's packets go out and none come in", bad},
		{"ah_blocked", "ah_blocked: something on the path drops AH (IP protocol 51)", warning},
		{"negotiation_stuck", "negotiation_stuck: the IKE negotiation does not come to an end", bad},
		{"child_missing", "child_missing: IKE is up, no child SA is", warning},
		{"no_sa", "no_sa: the gateway has no SA with the peer", warning},
		{"ike_lockout", "ike_lockout: the peer is over its limit of half-open SAs from here", warning},
		{"vantage_suspect", "vantage_suspect: look at your own uplink first", neutral},
	}
}

// byValue shows values as the words of their states.
func byValue(states []state) []dashboard.ValueMapping {
	return mapped(states, func(_ int, s state) string { return s.value })
}

// byCode shows the numbers of stateCode as the words of their states.
func byCode(states []state) []dashboard.ValueMapping {
	return mapped(states, func(i int, _ state) string { return strconv.Itoa(i + 1) })
}

func mapped(states []state, key func(int, state) string) []dashboard.ValueMapping {
	m := dashboard.NewValueMap()
	for i, s := range states {
		m.Options[key(i, s)] = dashboard.ValueMappingResult{Text: &s.text, Color: &s.colour, Index: new(int32(i))}
	}
	return []dashboard.ValueMapping{{ValueMap: m}}
}

// A step is a threshold: the colour of values from there on.
type step struct {
	from   float64
	colour string
}

// limits are thresholds, the first colour being that of all values below the first step.
func limits(first string, steps ...step) *dashboard.ThresholdsConfig {
	t := &dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: []dashboard.Threshold{{Color: first}}}
	for _, s := range steps {
		t.Steps = append(t.Steps, dashboard.Threshold{Value: &s.from, Color: s.colour})
	}
	return t
}
