package web

import (
	"fmt"
	"strconv"
	"time"

	"ipsec_path_exporter/exporter/report"
)

// age returns a duration in one number: "3 s", "12 min", "5 h", "3 d".
func age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d d", d/(24*time.Hour))
}

// clock returns a time for people, to the minute.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// millis returns a round trip with its unit.
func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1e3) }

// percent returns a share. One that is not zero is never shown as zero.
func percent(share float64) string {
	if share > 0 && share < 0.01 {
		return "less than 1 %"
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

// count returns a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// A measurement is one kind of result and when it was made; At is zero if there is none.
type measurement struct {
	Name string
	At   time.Time
}

// measurements returns how old the results of a peer are.
func measurements(r *report.Report) []measurement {
	all := []measurement{{Name: "echo"}, {Name: "IKE"}, {Name: "path MTU"}}
	if r.ICMP != nil {
		all[0].At = r.ICMP.At
	}
	if r.IKE != nil {
		all[1].At = r.IKE.IKE.At
		if r.IKE.NATT.At.After(all[1].At) {
			all[1].At = r.IKE.NATT.At
		}
	}
	if r.PMTU != nil {
		all[2].At = r.PMTU.At
	}
	return all
}

// oldest returns the time of the oldest result, zero if there is none.
func oldest(r *report.Report) (at time.Time) {
	for _, m := range measurements(r) {
		if !m.At.IsZero() && (at.IsZero() || m.At.Before(at)) {
			at = m.At
		}
	}
	return at
}
