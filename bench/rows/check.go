package rows

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
)

// A Check is one goal of a row and what was measured.
type Check struct {
	// Row and Name identify it.
	Row  string `json:"row"`
	Name string `json:"name"`
	// Value was measured; Unit is behind it. Least and Most bound it, where they are set.
	Value float64  `json:"value"`
	Unit  string   `json:"unit,omitempty"`
	Least *float64 `json:"least,omitempty"`
	Most  *float64 `json:"most,omitempty"`
	// Skipped is why nothing was measured.
	Skipped string `json:"skipped,omitempty"`
	// Note explains the value.
	Note string `json:"note,omitempty"`
}

// Failed reports whether the goal was missed.
func (c *Check) Failed() bool {
	return c.Skipped == "" && (c.Least != nil && !(c.Value >= *c.Least) || c.Most != nil && !(c.Value <= *c.Most))
}

// value returns the value with its unit.
func (c *Check) value() string {
	if c.Skipped != "" {
		return "-"
	}
	return number(c.Value, c.Unit)
}

func number(v float64, unit string) string {
	digits := 0
	switch abs := max(v, -v); {
	case abs == float64(int64(abs)), abs >= 1000:
	case abs >= 10:
		digits = 1
	case abs >= 0.1:
		digits = 2
	default:
		digits = 4
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if unit != "" {
		s += " " + unit
	}
	return s
}

// goal returns the bounds in words.
func (c *Check) goal() string {
	switch {
	case c.Least != nil && c.Most != nil && *c.Least == *c.Most:
		return number(*c.Most, c.Unit)
	case c.Least != nil && c.Most != nil:
		return "from " + number(*c.Least, c.Unit) + " to " + number(*c.Most, c.Unit)
	case c.Least != nil:
		return "at least " + number(*c.Least, c.Unit)
	case c.Most != nil:
		return "at most " + number(*c.Most, c.Unit)
	}
	return "none"
}

// result returns the judgement.
func (c *Check) result() string {
	switch {
	case c.Skipped != "":
		return "SKIPPED: " + c.Skipped
	case c.Failed():
		return "FAIL"
	case c.Least == nil && c.Most == nil:
		return "info"
	}
	return "PASS"
}

// WriteChecks writes one line per check.
func WriteChecks(out io.Writer, checks []Check) {
	for i := range checks {
		c := &checks[i]
		fmt.Fprintf(out, "%s: %s: %s (goal: %s) %s", c.Row, c.Name, c.value(), c.goal(), c.result())
		if c.Note != "" {
			fmt.Fprintf(out, " [%s]", c.Note)
		}
		fmt.Fprintln(out)
	}
}

// WriteTable writes the checks as a Markdown table.
func WriteTable(out io.Writer, checks []Check) {
	fmt.Fprintln(out, "| row | measured | value | goal | result | note |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|")
	for i := range checks {
		c := &checks[i]
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s |\n", c.Row, c.Name, c.value(), c.goal(), c.result(), cmp.Or(c.Note, " "))
	}
}

// atMost, atLeast and info return checks with and without a goal.
func atMost(name string, value, most float64, unit string) Check {
	return Check{Name: name, Value: value, Unit: unit, Most: &most}
}

func atLeast(name string, value, least float64) Check {
	return Check{Name: name, Value: value, Least: &least}
}

func within(name string, value, least, most float64, unit string) Check {
	return Check{Name: name, Value: value, Unit: unit, Least: &least, Most: &most}
}

func info(name string, value float64, unit string) Check {
	return Check{Name: name, Value: value, Unit: unit}
}

func skipped(name, reason string) Check { return Check{Name: name, Skipped: reason} }
