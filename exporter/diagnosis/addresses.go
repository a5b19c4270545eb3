package diagnosis

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// AddressSilent is the diagnosis of a peer whose name has an address that does not answer.
const AddressSilent = "address_silent"

// An Other is another address of the peer's name than the measured one, as it was when it was tried
// last.
type Other struct {
	Address netip.Addr
	// State is whether anything came back from it: Absent where nothing did by any method.
	State State
	// At is when the oldest of the requests was sent that show it.
	At time.Time
	// Evidence has a line for each method.
	Evidence []string
	// Reason is what could not be measured, empty where everything was.
	Reason string
}

// addressSilent: the peer's name has an address that does not answer, and another one that does.
//
// How sure it is: nothing came back from the address by any method, as for peer_silent, at two trials
// with requests of their own, and the measured address answers. An address that was not tried, or
// could not be, shows nothing. It ends when the address answers, or the name no longer has it. An IPsec
// daemon that takes only the first address of the name may have no tunnel meanwhile.
func (f *Facts) addressSilent() (claim, text) {
	if f.LookedUp.IsZero() {
		return claim{}, nil
	}
	silent := []claim{when(true, false, f.LookedUp)}
	var dead []*Other
	for i := range f.Others {
		o := &f.Others[i]
		silent = append(silent, not(when(o.State != Undecided, o.State == Holds, o.At)))
		if o.State == Absent {
			dead = append(dead, o)
		}
	}
	return and(or(silent...), not(f.nothingAnswers())), func() (string, []string) {
		addresses, verb := make([]string, 0, len(dead)), "does"
		var evidence []string
		for _, o := range dead {
			addresses = append(addresses, o.Address.String())
			for _, line := range o.Evidence {
				evidence = append(evidence, o.Address.String()+": "+line)
			}
		}
		if len(dead) > 1 {
			verb = "do"
		}
		for _, line := range f.reachEvidences() {
			evidence = append(evidence, f.Address.String()+": "+line)
		}
		return fmt.Sprintf("%s %s not answer; %s does (measured).", strings.Join(addresses, ", "), verb, f.Address), evidence
	}
}
