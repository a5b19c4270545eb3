package libreswan

import (
	"regexp"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// A class is what a state of pluto means. A child has a child state, an IKE SA an IKE state.
type class struct {
	version int // of IKE; 0 if several versions use the same words
	child   bool
	ike     gateways.IKEState
	inst    gateways.ChildState
}

// States have a name (STATE_V2_ESTABLISHED_IKE_SA, from 5.1 on ESTABLISHED_IKE_SA) and a description
// (established IKE SA). Pluto 5.4 shows the description only. Sources, all in programs/pluto:
//
//	3.12 to 3.29  pluto_constants.c (state_names, state_story)
//	3.30 to 5.0   ikev1_states.c, ikev2_states.c
//	5.1 to main   ikev1_states.c; ikev2_states.c, ikev2.h and the file of each exchange (V2_STATE)
//
// Only whole words match, because a state that is cut off may be another one. docs/ike-states.md
// has the table of versions.
var states = []struct {
	class
	names, descriptions *regexp.Regexp
}{
	{class{version: 1, ike: gateways.Connecting}, whole(`MAIN_(?:I[1-3]|R[0-2])|AGGR_(?:R0|I1|R1)`), whole(
		`expecting (?:[MA]I1|Main Mode request|Aggressive Mode request)|sent [MA][IR]\d, expecting [MA][IR]\d|` +
			`sent Main Mode (?:request|[IR]\d)|sent Aggressive Mode (?:request|response, expecting confirmation)`)},
	{class{version: 1, ike: gateways.Established}, whole(`MAIN_I4|MAIN_R3|AGGR_I2|AGGR_R2`), whole(
		`(?:sent (?:MR3|AI2), )?ISAKMP SA established|IKE SA established`)},
	{class{version: 1, ike: gateways.XAuth}, whole(`XAUTH_[IR][01]`), whole(
		`XAUTH (?:client - (?:possibly )?awaiting CFG_(?:request|set)|responder - optional CFG exchange|status sent, expecting Ack)`)},
	{class{version: 1, ike: gateways.ModeCfg}, whole(`MODE_CFG_(?:R[0-2]|I1|CLIENT_RESPONDING|SERVER_WAITING_FOR_ACK)`), whole(
		`ModeCfg (?:Reply sent|Set sent, expecting Ack|R2|init\w+ - awaiting CFG_reply)|sent ModeCfg (?:request|reply, expecting Ack)|` +
			`received ModeCfg (?:Ack|request, reply sent)|non-pull client received MODE_CFG|server sent MODE_CFG SET, waiting for MODE_CFG ACK`)},
	{class{version: 1}, whole(`INFO|INFO_PROTECTED`), whole(
		`(?:got|received) (?:un)?encrypted Informational (?:Message|Exchange message)|got Informational Message in clear`)},
	{class{version: 1, child: true, inst: gateways.Installing}, whole(`QUICK_(?:R0|I1|R1)`), whole(
		`expecting (?:QI1|Quick Mode request)|sent (?:QI1, expecting QR1|QR1, inbound IPsec SA installed, expecting QI2|Quick Mode request|` +
			`Quick Mode reply, inbound IPsec SA installed, expecting confirmation)`)},
	{class{child: true, inst: gateways.Installed}, whole(`QUICK_[IR]2|IPSEC_[IR]|ESTABLISHED_CHILD_SA`), whole(
		`(?:sent QI2, )?IPsec SA established|established Child SA`)},
	{class{version: 2, ike: gateways.Connecting}, whole(
		`PARENT_(?:I[0-2]|R[01]|R_EAP)|UNSECURED_R|IKE_(?:SA_INIT|SESSION_RESUME|INTERMEDIATE|AUTH|AUTH_EAP)_(?:I0?|R0?|IR)|` +
			`REKEY_IKE_(?:FOLLOWUP_KE_)?[IR][01]?`), whole(
		`waiting for KE to finish|sent v2I\d, expected v2R\d|received v2I1, sent v2R1|processing SA_INIT request|sent EAP request|` +
			`(?:sent|processing|processed) (?:IKE_SA_INIT|IKE_SESSION_RESUME|IKE_INTERMEDIATE|IKE_AUTH)(?: ?\([^)]*\))? (?:request|response|reply)(?:, .*)?|` +
			`larval unsecured IKE SA responder|sent (?:CREATE_CHILD_SA|IKE_FOLLOWUP_KE) request to rekey IKE SA|` +
			`process IKE_FOLLOWUP_KE rekey IKE SA request \(larval\)`)},
	// Before 3.20 a child has the same states as its parent. Its SPIs distinguish it.
	{class{version: 2, ike: gateways.Established}, whole(`PARENT_I3|PARENT_R2|ESTABLISHED_IKE_SA`), whole(
		`(?:received v2I2, )?PARENT SA established|established IKE SA`)},
	{class{version: 2, child: true, inst: gateways.Installing}, whole(
		`CREATE_(?:I0?|R)|(?:IKE_AUTH|NEW|REKEY)_CHILD_[IR][01]?`), whole(
		`ephemeral: (?:initiator|responder) creating child from IKE exchange|sent IPS[Ee]c Child req wait response|` +
			`sent CREATE_CHILD_SA request (?:for new|to rekey) IPsec SA`)},
	{class{version: 2, child: true, inst: gateways.ChildClosing}, whole(`CHILDSA_DEL|CHILD_SA_DELETE`), whole(`STATE_CHILDSA_DEL`)},
	{class{version: 2, ike: gateways.IKEClosing}, whole(`IKESA_DEL|IKE_SA_DELETE|ZOMBIE`), whole(`STATE_IKESA_DEL|deleted state`)},
}

func whole(expr string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + expr + `)$`) }

// classify returns the class of a state by its name or its description, false if it has none.
func classify(texts ...string) (class, bool) {
	for _, text := range texts {
		name := strings.TrimPrefix(strings.TrimPrefix(text, "STATE_"), "V2_")
		for i := range states {
			if states[i].names.MatchString(name) || states[i].descriptions.MatchString(text) {
				return states[i].class, true
			}
		}
	}
	return class{}, false
}
