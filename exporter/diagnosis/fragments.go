package diagnosis

import (
	"fmt"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/fragments"
)

// FragmentsDropped is the name of the diagnosis that IP fragments do not arrive.
const FragmentsDropped = "fragments_dropped"

// fragmentsDropped: IKE messages in IP fragments vanish, whole ones do not. It is what stops the
// large messages of a negotiation, above all messages with certificates.
//
// How sure it is: at least three messages in fragments in a row were not answered, two more for
// each whole message that was lost between them, and at least one whole message was answered. A
// message in three fragments on a path that loses one packet in ten each way is lost that often
// once in 25, and again in the second test once in 650. Where the peer answers no message of that
// size, whole or not, it is unknown: the whole messages have the same size. The methods are parts
// that stand alone. A peer that drops fragments itself looks like a path that does.
func (f *Facts) fragmentsDropped(m collectors.Method) (claim, text) {
	r := f.fragmented(m)
	arrived := r.State == fragments.Pass || r.Answered > 0
	vanished := r.State == fragments.Dropped && r.ControlsAnswered > 0 &&
		r.Sent >= silenceRequests+2*(r.Controls-r.ControlsAnswered)
	return when(arrived || vanished, !arrived, r.At), func() (string, []string) {
		line := fmt.Sprintf("%s: messages of %d bytes in fragments of %d bytes are not answered: %d of %d, whole messages between them: %d of %d",
			m, r.Size, r.Piece, r.Answered, r.Sent, r.ControlsAnswered, r.Controls)
		if r.Incomplete.IsValid() { // ICMP 11/1, RFC 792
			line += fmt.Sprintf("; %s reports that fragments of a message are missing", r.Incomplete)
		}
		return "Messages in IP fragments vanish, whole ones are answered: fragments are dropped on the path or by the peer.", []string{line}
	}
}
