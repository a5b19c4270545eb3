package rows

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
)

var errNoScrape = errors.New("no line of BenchmarkScrape with its metrics: is this the output of go test -bench Scrape?")

// The goals of a scrape by the metric of BenchmarkScrape in exporter/store.
var scrapeGoals = map[string]struct {
	name, unit string
	most       float64
}{
	"of-ready":      {"CPU, in multiples of encoding ready families", "", 1.5},
	"of-const":      {"CPU, in multiples of const metrics", "", 0.1},
	"allocs/scrape": {"allocations", "", 10_000},
	"extra-MB":      {"memory while it runs", "MB", 16},
}

// Scrapes judges the output of BenchmarkScrape. A format is a sub-benchmark.
func Scrapes(output io.Reader) ([]Check, error) {
	var checks []Check
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "BenchmarkScrape") {
			continue
		}
		_, format, _ := strings.Cut(fields[0], "/")
		if at := strings.LastIndexByte(format, '-'); at >= 0 {
			format = format[:at] // the number of processors
		}
		for i := 2; i+1 < len(fields); i += 2 {
			goal, known := scrapeGoals[fields[i+1]]
			value, err := strconv.ParseFloat(fields[i], 64)
			if !known || err != nil {
				continue
			}
			c := atMost(format+": "+goal.name, value, goal.most, goal.unit)
			c.Row = "scrape"
			checks = append(checks, c)
		}
	}
	if len(checks) == 0 {
		return nil, errors.Join(errNoScrape, lines.Err())
	}
	return checks, lines.Err()
}
