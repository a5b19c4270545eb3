package ciscoasa

import (
	"regexp"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// Cisco publishes no list of the states of an ASA's IKEv1, so rules classify them by their parts.
// docs/ike-states.md has the sources.
//
//	MM_ main mode, AM_ aggressive mode | WAIT_MSGn, SND_MSGn, BLD_MSGn, PROC_MSGn, START |
//	TM_ transaction (XAUTH, MODECFG) | ACTIVE | ...
type stateRule struct {
	word  *regexp.Regexp
	class gateways.IKEState
}

// asaRules apply in this order: MM_REKEY_DONE_H2 is in use, MM_DONE is not.
var asaRules = []stateRule{
	{regexp.MustCompile(`DELETE|_FREE`), gateways.IKEClosing},
	{regexp.MustCompile(`_REKEY`), gateways.IKERekeying},
	{regexp.MustCompile(`_ACTIVE`), gateways.Established},
	{regexp.MustCompile(`_TM_.*XAUTH`), gateways.XAuth},
	{regexp.MustCompile(`_TM_`), gateways.ModeCfg}, // Transactions are the exchange of mode config; XAUTH comes first in it.
	{regexp.MustCompile(`_(?:WAIT|SND|BLD|PROC)_MSG\d|_START`), gateways.Connecting},
	{regexp.MustCompile(`_DONE`), gateways.IKEClosing},
}

// asaState classifies an IKEv1 state of an ASA, in upper case.
func asaState(word string) gateways.IKEState {
	if !strings.HasPrefix(word, "MM_") && !strings.HasPrefix(word, "AM_") {
		return gateways.IKEUnknown
	}
	for _, r := range asaRules {
		if r.word.MatchString(word) {
			return r.class
		}
	}
	return gateways.IKEUnknown
}

// iosState classifies an IKEv1 state of IOS by its status: "MM_NO_STATE ... ACTIVE (deleted)" remains
// of a deleted SA, and the standby device of a pair shows copies that carry no traffic.
func iosState(word, status string) gateways.IKEState {
	switch {
	case strings.Contains(status, "deleted"):
		return gateways.IKEClosing
	case !strings.HasPrefix(status, "ACTIVE"):
		return gateways.IKEUnknown
	}
	switch word {
	case "QM_IDLE":
		return gateways.Established
	case "CONF_XAUTH":
		return gateways.XAuth
	case "CONF_ADDR":
		return gateways.ModeCfg
	case "MM_NO_STATE", "MM_SA_SETUP", "MM_KEY_EXCH", "MM_KEY_AUTH", "AG_NO_STATE", "AG_INIT_EXCH", "AG_AUTH":
		return gateways.Connecting
	}
	return gateways.IKEUnknown
}

// ikev2State classifies the status of an IKEv2 SA, of an ASA or of IOS.
func ikev2State(word string) gateways.IKEState {
	switch {
	case word == "READY":
		return gateways.Established
	case word == "IN-NEG":
		return gateways.Connecting
	case strings.HasPrefix(word, "REKEY"):
		return gateways.IKERekeying
	case strings.HasPrefix(word, "DEL"):
		return gateways.IKEClosing
	}
	return gateways.IKEUnknown
}
