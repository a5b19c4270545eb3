package main

import (
	"slices"
	"strconv"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Colours; each has one meaning on all boards.
const (
	good    = "green"
	notice  = "yellow"
	warning = "orange"
	bad     = "red"
	unknown = "#8e8e8e" // grey in both themes
	neutral = "blue"
)

// A state is a value of a label or gauge, with its text and colour.
type state struct {
	value, text, colour string
}

func mtuStates() []state {
	return []state{
		{"clean", "clean", good},
		{"reduced", "reduced", notice},
		{"inconclusive", "inconclusive", unknown},
		{"unreachable", "unreachable", warning},
		{"black_hole", "BLACK HOLE", bad},
	}
}

func protocolStates() []state {
	return []state{{"passes", "passes", good}, {"unknown", "unknown", unknown}, {"blocked", "BLOCKED", bad}}
}

// yesNo are the states of a gauge of 1 or 0.
func yesNo(yes, no string) []state {
	return []state{{"0", no, bad}, {"1", yes, good}}
}

// diagnoses are the values of ipsec_path_diagnosis, with their meaning for users.
func diagnoses() []state {
	return []state{
		{"peer_silent", "peer_silent: nothing answers by any method", bad},
		{"peer_refuses", "peer_refuses: the peer's packet filter refuses this source", bad},
		{"no_route", "no_route: a router does not reach the peer", bad},
		{"local_filter", "local_filter: this host drops the answers", warning},
		{"address_silent", "address_silent: an address of the name does not answer, another one does", warning},
		{"flow_stuck", "flow_stuck: a NAT or firewall keeps stale state for one flow", warning},
		{"flows_lost", "flows_lost: some source ports are lost, others pass", bad},
		{"icmp_blocked", "icmp_blocked: IKE answers, echo does not", notice},
		{"ike_refused", "ike_refused: no IKE daemon listens", bad},
		{"pmtu_black_hole", "pmtu_black_hole: large packets vanish without an ICMP error", bad},
		{"pmtu_black_hole_reverse", "pmtu_black_hole_reverse: large packets vanish on the reverse path", bad},
		{"tunnel_oversized", "tunnel_oversized: the gateway sends packets that are too large for the path", bad},
		{"fragments_dropped", "fragments_dropped: IKE messages in IP fragments vanish", bad},
		{"inside_black_hole", "inside_black_hole: large packets vanish inside the tunnel", warning},
		{"mss_too_large", "mss_too_large: TCP segments do not fit into the tunnel", bad},
		{"tunnel_dead", "tunnel_dead: the tunnel is up and carries nothing", bad},
		{"udp500_blocked", "udp500_blocked: UDP 500 is filtered", warning},
		{"udp4500_blocked", "udp4500_blocked: UDP 4500 is filtered", warning},
		{"esp_blocked", "esp_blocked: the path drops ESP (IP protocol 50)", bad},
		{"esp_udp_blocked", "esp_udp_blocked: the path drops ESP in UDP 4500", bad},
		{"esp_one_way", "esp_one_way: the tunnel sends packets and receives none", bad},
		{"ah_blocked", "ah_blocked: the path drops AH (IP protocol 51)", warning},
		{"negotiation_stuck", "negotiation_stuck: the IKE negotiation does not complete", bad},
		{"child_missing", "child_missing: IKE is up without a child SA", warning},
		{"no_sa", "no_sa: the gateway has no SA with the peer", warning},
		{"ike_lockout", "ike_lockout: the peer is over its limit of half-open SAs from here", warning},
		{"loss_high", "loss_high: many packets are lost", warning},
		{"vantage_suspect", "vantage_suspect: check your own uplink first", neutral},
	}
}

// short returns states whose text is the value, for narrow columns.
func short(states []state) []state {
	all := slices.Clone(states)
	for i := range all {
		all[i].text = all[i].value
	}
	return all
}

// byValue maps values to the texts of their states.
func byValue(states []state) []dashboard.ValueMapping {
	return mapped(states, func(_ int, s state) string { return s.value })
}

// byCode maps the numbers of stateCode to the texts of their states.
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

// A step is a threshold: the colour of values from there up.
type step struct {
	from   float64
	colour string
}

// limits returns thresholds; first is the colour below the first step.
func limits(first string, steps ...step) *dashboard.ThresholdsConfig {
	t := &dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: []dashboard.Threshold{{Color: first}}}
	for _, s := range steps {
		t.Steps = append(t.Steps, dashboard.Threshold{Value: &s.from, Color: s.colour})
	}
	return t
}
