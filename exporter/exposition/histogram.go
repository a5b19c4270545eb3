package exposition

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// A histogramWriter writes histograms in the text formats, with the same bytes as expfmt. That makes
// the name of each of a histogram's dozen lines anew, which is 120,000 allocations for 10,000 peers,
// and escapes the same labels for each. The lines about the family are left to expfmt.
type histogramWriter struct {
	openMetrics bool
	bounds      map[float64]string // as they are written: there are few
	labels      []byte             // of one histogram, after the opening brace
	out         []byte
}

// append appends the lines of a histogram of a family to out. It has at least one label, as all
// series of peers, and no name needs escaping.
func (w *histogramWriter) append(family string, m *dto.Metric) {
	h := m.GetHistogram()
	w.setLabels(m.GetLabel())
	for _, b := range h.GetBucket() {
		w.bucket(family, b.GetUpperBound(), b.GetCumulativeCount())
	}
	w.bucket(family, math.Inf(1), h.GetSampleCount())
	w.begin(family, "_sum")
	w.out = append(w.float(append(w.out, "} "...), h.GetSampleSum()), '\n')
	w.begin(family, "_count")
	w.out = append(w.count(append(w.out, "} "...), h.GetSampleCount()), '\n')
}

// setLabels sets the labels of the lines that follow.
func (w *histogramWriter) setLabels(labels []*dto.LabelPair) {
	w.labels = w.labels[:0]
	for i, l := range labels {
		if i > 0 {
			w.labels = append(w.labels, ',')
		}
		w.labels = append(append(w.labels, l.GetName()...), `="`...)
		w.labels = append(append(w.labels, escaped(l.GetValue())...), '"')
	}
}

var escaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func escaped(value string) string {
	if strings.ContainsAny(value, "\\\n\"") {
		return escaper.Replace(value)
	}
	return value
}

// begin begins a line and leaves the brace open.
func (w *histogramWriter) begin(family, suffix string) {
	w.out = append(append(append(append(w.out, family...), suffix...), '{'), w.labels...)
}

func (w *histogramWriter) bucket(family string, bound float64, count uint64) {
	w.begin(family, "_bucket")
	text, known := w.bounds[bound]
	if !known {
		text = string(w.float(nil, bound))
		w.bounds[bound] = text
	}
	w.out = append(append(append(w.out, `,le="`...), text...), `"} `...)
	w.out = append(w.count(w.out, count), '\n')
}

// count appends a count, which is a float in the older format.
func (w *histogramWriter) count(b []byte, n uint64) []byte {
	if w.openMetrics {
		return strconv.AppendUint(b, n, 10)
	}
	return w.float(b, float64(n))
}

// float appends a number, which OpenMetrics distinguishes from an integer.
func (w *histogramWriter) float(b []byte, v float64) []byte {
	from := len(b)
	b = strconv.AppendFloat(b, v, 'g', -1, 64)
	if w.openMetrics && !math.IsInf(v, 0) && !math.IsNaN(v) && !bytes.ContainsAny(b[from:], "e.") {
		b = append(b, ".0"...)
	}
	return b
}
