package web

import (
	"fmt"
	"math"
	"strings"
	"time"

	"ipsec_path_exporter/exporter/lastday"
)

// stripHeight is the height of a strip in the units of its view box; its width is a unit per
// quarter.
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
		scale{"Echo loss", lossOf, percent, 0, fullLoss}.strip(day, now),
		scale{"Round trip", tripOf, func(v float64) string { return millis(time.Duration(v)) }, 0, 0}.strip(day, now),
		scale{"Path MTU", sizeOf, func(v float64) string { return fmt.Sprintf("%.0f bytes", v) }, sizeStep, 0}.strip(day, now),
	}
}

// A scale is how a value is drawn.
type scale struct {
	title string
	// of returns the value of a sample, and whether it is known. words names a value.
	of    func(*lastday.Sample) (float64, bool)
	words func(float64) string
	// step, if set, is how far below the least value a bar begins, so that small differences show.
	// A bar ends at top, or at the largest value if that is more.
	step, top float64
}

const (
	// fullLoss is the loss that fills a strip, unless there is more: twice what counts as heavy.
	fullLoss = 0.2
	// sizeStep is what the smallest path MTU of a day is drawn as.
	sizeStep = 100
)

// healthNames are the words of each health, and its classes.
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
		title := healthNames[h]
		if h == lastday.NotSampled {
			title = "not recorded"
		}
		s.Bars = append(s.Bars, bar{X: i, Width: 1, Height: stripHeight, Class: healthNames[h], Title: title + " since " + clock(quarterStart(i, now))})
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

// strip draws the value of each quarter as a bar.
func (c scale) strip(day *[lastday.Quarters]lastday.Sample, now time.Time) strip {
	s := strip{Title: c.title, Newest: "unknown", Range: "no value in this time"}
	least, most := math.Inf(1), math.Inf(-1)
	for i := range day {
		if v, ok := c.of(&day[i]); ok {
			least, most = min(least, v), max(most, v)
		}
	}
	if most < 0 {
		return s
	}
	s.Range = c.words(least) + " to " + c.words(most)
	if least == most {
		s.Range = c.words(least) + " throughout"
	}
	bottom, top := 0.0, max(c.top, most)
	if c.step > 0 {
		bottom = max(0, least-c.step)
	}
	for i := range day {
		v, ok := c.of(&day[i])
		if !ok {
			continue
		}
		height := 1
		if top > bottom {
			height = max(1, int(math.Ceil((v-bottom)/(top-bottom)*stripHeight)))
		}
		s.add(i, height, c.words(v), now)
		if i == lastday.Quarters-1 {
			s.Newest = c.words(v)
		}
	}
	return s
}

// add draws a quarter, as part of the bar before it if that has the same value.
func (s *strip) add(i, height int, words string, now time.Time) {
	if n := len(s.Bars); n > 0 {
		if last := &s.Bars[n-1]; last.X+last.Width == i && strings.HasPrefix(last.Title, words+" since") {
			last.Width++
			return
		}
	}
	s.Bars = append(s.Bars, bar{
		X: i, Width: 1, Y: stripHeight - height, Height: height, Class: "value", Title: words + " since " + clock(quarterStart(i, now)),
	})
}
