package report

import (
	"fmt"
	"net/netip"
)

// An Address is another address of the peer's name than the measured one.
type Address struct {
	Address netip.Addr   `json:"address"`
	State   AddressState `json:"state"`
	// Reason is why this host cannot measure it, or could not.
	Reason string `json:"reason,omitempty"`
}

// AddressState is what is known of an address.
type AddressState string

// The states.
const (
	// Answers and Silent are of an address that was tried, TriedUnknown is without a result.
	Answers      AddressState = "answers"
	Silent       AddressState = "silent"
	TriedUnknown AddressState = "unknown"
	// Unroutable is an address that this host cannot send to, Untried one that nothing was sent to.
	Unroutable AddressState = "unroutable"
	Untried    AddressState = "untried"
)

// otherAddresses are about the addresses of the name that are not measured.
func otherAddresses(r *Report) (out []entry) {
	words := map[AddressState]string{
		Answers: "answers", Silent: "does not answer", TriedUnknown: "tried without a result",
		Unroutable: "not measured", Untried: "not tried",
	}
	for _, a := range r.Addresses {
		out = append(out, entry{label: "other address", text: because(fmt.Sprintf("%s %s", a.Address, words[a.State]), a.Reason)})
	}
	return out
}
