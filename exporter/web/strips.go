package web

import (
	"fmt"
	"math"
	"strings"
	"time"

	"ipsec_path_exporter/exporter/lastday"
)

// stripHeight is the height of a strip in the units of its view box; its width is a unit per quarter.
const stripHeight = 20

// A strip is the last 24 hours of one value.
type strip struct {
	Title string
	// Newest and Range are the values at the right end and over the day, in words.
	Newest, Range string
	Bars          []bar
}

// A bar is one run of quarters with the same look.
type bar struct {
	X, Width, Y, Height int
	Class               string
	// Title says what it stands for.
	Title string
}

// strips returns the strips of a day that ends now.
func strips(day *[lastday.Quarters]lastday.Sample, now time.Time) []strip {
	return []strip{
		healthStrip(day, now),
		valueStrip("Echo loss", day, now, lossOf, percent, 1),
		valueStrip("Round trip", day, now, tripOf, func(v float64) string { return millis(time.Duration(v)) }, 0),
		valueStrip("Path MTU", day, now, sizeOf, func(v float64) string { return fmt.Sprintf("%.0f bytes", v) }, 0),
	}
}

// healthNames are the classes and words of each health.
var healthNames = [...]string{
	lastday.NotSampled: "none", lastday.Healthy: "healthy", lastday.Unknown: "unknown",
	lastday.Info: "info", lastday.Warning: "warning", lastday.Critical: "critical",
}

// quarterStart is when a quarter of the day begins.
func quarterStart(i int, now time.Time) time.Time {
	return now.Truncate(lastday.Quarter).Add(time.Duration(i-lastday.Quarters+1) * lastday.Quarter)
}

// healthStrip draws the worst health of each quarter.
func healthStrip(day *[lastday.Quarters]lastday.Sample, now time.Time) strip {
	s := strip{Title: "Health", Newest: "not recorded"}
	counts := make(map[lastday.Health]int)
	for i := range day {
		h := day[i].Health
		counts[h]++
		if n := len(s.Bars); n > 0 && s.Bars[n-1].Class == healthNames[h] {
			s.Bars[n-1].Width++
			continue
		}
		s.Bars = append(s.Bars, bar{
			X: i, Width: 1, Height: stripHeight, Class: healthNames[h], Title: healthNames[h] + " since " + clock(quarterStart(i, now)),
		})
	}
	if h := day[lastday.Quarters-1].Health; h != lastday.NotSampled {
		s.Newest = healthNames[h]
	}
	recorded := lastday.Quarters - counts[lastday.NotSampled]
	faults := counts[lastday.Info] + counts[lastday.Warning] + counts[lastday.Critical]
	s.Range = fmt.Sprintf("%s of %s with a fault", span(faults), span(recorded))
	if recorded == 0 {
		s.Range = "recording begins within a minute"
	}
	return s
}

// span is a number of quarters as a time.
func span(quarters int) string {
	if quarters%4 == 0 {
		return fmt.Sprintf("%d h", quarters/4)
	}
	return fmt.Sprintf("%.4g h", float64(quarters)/4)
}

// lossOf, tripOf and sizeOf return a value of a sample, and whether it is known.
func lossOf(s *lastday.Sample) (float64, bool) {
	return s.Loss, s.Loss >= 0 && s.Health != lastday.NotSampled
}

func tripOf(s *lastday.Sample) (float64, bool) { return float64(s.RoundTrip), s.RoundTrip > 0 }

func sizeOf(s *lastday.Sample) (float64, bool) { return float64(s.Bytes), s.Bytes > 0 }

// valueStrip draws one value of each quarter as a bar, up to top or else to the largest value.
func valueStrip(title string, day *[lastday.Quarters]lastday.Sample, now time.Time,
	of func(*lastday.Sample) (float64, bool), words func(float64) string, top float64,
) strip {
	s := strip{Title: title, Newest: "unknown", Range: "no value in this time"}
	least, most := math.Inf(1), math.Inf(-1)
	for i := range day {
		if v, ok := of(&day[i]); ok {
			least, most = min(least, v), max(most, v)
		}
	}
	if most < 0 {
		return s
	}
	s.Range = words(least) + " to " + words(most)
	if least == most {
		s.Range = words(least) + " throughout"
	}
	for i := range day {
		v, ok := of(&day[i])
		if !ok {
			continue
		}
		height := stripHeight
		if scale := max(top, most); scale > 0 {
			height = int(math.Ceil(v / scale * stripHeight))
		}
		height = max(height, 1)
		title := words(v)
		if n := len(s.Bars); n > 0 && s.Bars[n-1].X+s.Bars[n-1].Width == i && strings.HasPrefix(s.Bars[n-1].Title, title+" since") {
			s.Bars[n-1].Width++
		} else {
			s.Bars = append(s.Bars, bar{X: i, Width: 1, Y: stripHeight - height, Height: height, Class: "value", Title: title + " since " + clock(quarterStart(i, now))})
		}
		if i == lastday.Quarters-1 {
			s.Newest = words(v)
		}
	}
	return s
}
