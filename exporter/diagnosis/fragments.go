package diagnosis

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"ipsec_path_exporter/collectors"
)

// FragmentState is whether a message in IP fragments is answered like one that is not.
type FragmentState uint8

// The states of fragments.
const (
	// FragmentUnknown means not measured, not measurable, too long ago, or that the test came to no result.
	FragmentUnknown FragmentState = iota
	// FragmentPass means that a message in fragments was answered.
	FragmentPass
	// FragmentDropped means that messages in fragments were not answered, and that whole ones between them were.
	FragmentDropped
)

// String names the state.
func (s FragmentState) String() string {
	switch s {
	case FragmentUnknown:
	case FragmentPass:
		return "pass"
	case FragmentDropped:
		return "dropped"
	}
	return "unknown"
}

// Fragments is the result of the newest test with fragments by one method.
type Fragments struct {
	State FragmentState
	// Measured is when the test began. A state without it is unknown.
	Measured time.Time
	// Sent and Answered count messages in fragments, Controls and ControlsAnswered whole ones; all 0 where they are not counted.
	Sent, Answered, Controls, ControlsAnswered int
	// Size is that of the message, PieceSize that of its fragments, as IP packets.
	Size, PieceSize int
	// ReassemblyTimeout is who said that it waited in vain for the missing fragments (ICMP 11/1, RFC 792): the peer.
	ReassemblyTimeout netip.Addr
	// LargeRefused means that the peer does not answer a whole message of that size either.
	LargeRefused bool
}

// dropped is the claim that fragments are dropped.
func (r *Fragments) dropped() claim {
	switch {
	case r.Measured.IsZero():
	case r.State == FragmentPass || r.Answered > 0:
		return claim{Absent, r.Measured}
	case r.State == FragmentDropped && r.believable():
		return claim{Holds, r.Measured}
	}
	return claim{}
}

// believable tells whether silence after fragments shows anything about fragments.
func (r *Fragments) believable() bool {
	if r.LargeRefused && !r.ReassemblyTimeout.IsValid() {
		return false
	}
	return r.Sent == 0 || r.ControlsAnswered > 0 && r.Sent >= silenceRequests+2*(r.Controls-r.ControlsAnswered)
}

// evidence is what was measured, in one line.
func (r *Fragments) evidence(m collectors.Method) string {
	line := fmt.Sprintf("%s: messages of %d bytes in fragments of %d bytes are not answered", m, r.Size, r.PieceSize)
	if r.Sent > 0 {
		line += fmt.Sprintf(": %d of %d, whole messages between them: %d of %d", r.Answered, r.Sent, r.ControlsAnswered, r.Controls)
	}
	parts := []string{line}
	if r.ReassemblyTimeout.IsValid() {
		parts = append(parts, fmt.Sprintf("%s says that it waited in vain for the missing fragments", r.ReassemblyTimeout))
	}
	return strings.Join(parts, "; ")
}

// fragmentsDropped: IKE messages in IP fragments vanish, whole ones do not. It is what stops the large messages of a
// negotiation, those with certificates above all.
//
// How sure it is: at least three messages in fragments in a row were in vain, two more for each whole message that was lost
// between them, and at least one whole message was answered. A message in three fragments on a path that loses one packet
// in ten each way is lost that often once in 25, and again in the second test once in 650. Where the peer does not take
// messages of that size at all, only its own word that fragments are missing (ICMP 11/1) shows anything. The methods are parts
// that stand alone. That the peer itself drops fragments is not told from a path that does.
func (f *Facts) fragmentsDropped(m collectors.Method) Verdict {
	r := &f.Fragments[m]
	return verdict(FragmentsDropped, m.String(), r.dropped(), func() (string, []string) {
		return "Messages in IP fragments vanish, whole ones are answered: fragments are dropped on the path or by the peer.", []string{r.evidence(m)}
	})
}
