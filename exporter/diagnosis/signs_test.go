package diagnosis

import (
	"testing"

	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
)

// TestMayBeDead: an answer of IKE from before the echoes were silent is no sign of life.
func TestMayBeDead(t *testing.T) {
	for name, tt := range map[string]struct {
		facts Facts
		want  bool
	}{
		"echo is answered":                {reaching([methods]reaction{answers, silent, silent}), false},
		"nothing is answered":             {mute, true},
		"echo alone":                      {echoQuiet, true},
		"nothing is known":                {noNews, false},
		"IKE was answered, then silence":  {reaching([methods]reaction{silent, answers, answers}), true},
		"IKE was answered in the silence": {reaching([methods]reaction{silent, answers, answers}), false},
	} {
		f := tt.facts
		if name[:3] == "IKE" {
			f.ICMP = &icmp.Result{State: icmp.Silent, Unanswered: 3, Since: at(0), At: at(10)}
			answered := ike.Result{State: ike.Responding, Sent: 1, At: at(-5)}
			if !tt.want {
				answered.At = at(5)
			}
			f.IKE = &ike.Results{IKE: answered, NATT: answered}
		}
		if got := f.MayBeDead(); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
