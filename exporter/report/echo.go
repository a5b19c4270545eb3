package report

import (
	"fmt"
	"strings"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
)

// Sizes of an echo request with the 56 bytes of data that ping sends (RFC 792, RFC 791, RFC 8200).
const echoBytes4, echoBytes6 = 84, 104

// echo is about echo requests.
func echo(r *Report) []entry {
	i := r.ICMP
	if i == nil {
		return nil
	}
	size := echoBytes4
	if r.V6() {
		size = echoBytes6
	}
	note := icmpError(&i.Error)
	w := echoWindow(i)
	e := entry{
		label: "ICMP echo", text: because(i.State.String(), echoReason(i)), at: i.At, since: w.since,
		row: "ICMP echo", cell: i.State.String() + milliseconds(i.Avg),
		test: "ICMP echo", sent: fmt.Sprintf("%d requests of %d bytes", w.sent, size), received: fmt.Sprintf("%d replies", w.answered) + note,
	}
	if w.sent > 0 {
		e.text += fmt.Sprintf(" (%d of %d answered%s)", w.answered, w.sent, w.roundTrips(i))
		e.received += w.roundTrips(i)
	}
	e.text += note
	switch i.State {
	case icmp.Reachable:
		e.shows = "small ICMP echoes pass in both directions"
		if echoLoss(i).Heavy() {
			e.shows = "small ICMP echoes, or the replies, are often lost"
		}
	case icmp.Silent:
		e.shows = "ICMP echo is filtered, or the peer does not answer it"
	case icmp.Unknown:
		e.shows, e.unknown, e.why = noConclusion(i.Reason), "whether ICMP echo is answered", i.Reason
	}
	return []entry{e}
}

// echoLoss returns the newest sample of the loss, or all echoes while there is none. A sample
// without an echo, also that of a peer that answers nothing, is not a loss.
func echoLoss(i *icmp.Result) (s collectors.Sample) {
	switch {
	case i.Received == 0:
	case i.Loss.Sent > 0:
		s = i.Loss
	default:
		s = collectors.Sample{Sent: i.Sent, Lost: i.Sent - i.Received}
	}
	return s
}

// A window is the echoes that a report counts: all of one time, not what was counted since the
// start.
type window struct {
	sent, answered int
	since          time.Time
	// whole means that the round trips are those of the same echoes.
	whole bool
}

func echoWindow(i *icmp.Result) window {
	switch {
	case i.Received == 0 || i.State == icmp.Silent:
		return window{sent: i.Unanswered, since: i.Since}
	case i.Loss.Sent > 0:
		return window{i.Loss.Sent, i.Loss.Sent - i.Loss.Lost, i.Loss.Since, i.Loss.Sent == i.Sent}
	}
	return window{sent: i.Sent, answered: i.Received, whole: true}
}

// roundTrips returns the loss of the echoes, the round trips and their jitter, or nothing.
func (w *window) roundTrips(i *icmp.Result) string {
	if w.answered == 0 {
		return ""
	}
	out := fmt.Sprintf(", %.0f %% lost", 100*float64(w.sent-w.answered)/float64(w.sent))
	if !w.whole {
		return out + strings.Replace(milliseconds(i.Last), ", ", ", last round trip ", 1)
	}
	if i.Avg > 0 {
		out += ", min/avg/max " + strings.Join([]string{bare(i.Min), bare(i.Avg), bare(i.Max)}, "/") + " ms"
	}
	if i.Received > 1 {
		out += ", jitter " + bare(i.Jitter) + " ms"
	}
	return out
}

// bare is a duration in milliseconds.
func bare(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1000) }

// echoReason is why the state is unknown. The reason of a known state is about the newest echo.
func echoReason(i *icmp.Result) string {
	if i.State == icmp.Unknown {
		return i.Reason
	}
	return ""
}
