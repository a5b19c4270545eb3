package exposition

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"iter"
	"math"
	"sync"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"
)

// partSize is the number of series that are made and encoded at once: few enough for the caches of a
// processor, and enough for writes of some ten kilobytes.
const partSize = 512

// An encoder writes families to a client in one format. Encoding is that of expfmt; what is done here
// is to write one family in several parts.
type encoder struct {
	kind expfmt.FormatType
	// families encodes families with any names, series those of peers: their names, and those of
	// their labels, need no escaping, which would take a third of the time to find out.
	families, series expfmt.Encoder
	client           client
	*buffers
}

// buffers are kept from one page to the next.
type buffers struct {
	lines   *bufio.Writer // writes to trim
	trim    trimmer       // writes to the client
	message [][]byte      // the parts of a family in protobuf

	histograms histogramWriter
}

var pool = sync.Pool{New: func() any {
	b := &buffers{histograms: histogramWriter{bounds: make(map[float64]string)}}
	b.lines = bufio.NewWriterSize(&b.trim, 64<<10)
	return b
}}

func newEncoder(w io.Writer, format expfmt.Format) *encoder {
	e := &encoder{kind: format.FormatType(), client: client{Writer: w}}
	e.buffers, _ = pool.Get().(*buffers)
	e.trim = trimmer{to: &e.client}
	if om := e.kind == expfmt.TypeOpenMetrics; om != e.histograms.openMetrics {
		e.histograms.openMetrics = om
		clear(e.histograms.bounds)
	}
	e.lines.Reset(&e.trim)
	e.families = expfmt.NewEncoder(e.lines, format)
	e.series = expfmt.NewEncoder(e.lines, format.WithEscapingScheme(model.NoEscaping))
	return e
}

// release gives the buffers back.
func (e *encoder) release() {
	e.trim = trimmer{}
	pool.Put(e.buffers)
}

// close ends the page.
func (e *encoder) close() error {
	if closer, ok := e.families.(expfmt.Closer); ok { // "# EOF" of OpenMetrics
		if err := closer.Close(); err != nil {
			return err
		}
	}
	return e.lines.Flush()
}

// family writes a whole family.
func (e *encoder) family(f *dto.MetricFamily) error { return e.families.Encode(f) }

// A page lends its families in parts.
type page interface {
	Len() int
	Name(i int) string
	Parts(i, size int) iter.Seq[*dto.MetricFamily]
}

// parts writes a family of a page.
func (e *encoder) parts(p page, i int) error {
	switch e.kind {
	case expfmt.TypeTextPlain, expfmt.TypeOpenMetrics:
		return e.text(p, i)
	case expfmt.TypeProtoDelim:
		return e.delimited(p, i)
	case expfmt.TypeProtoText, expfmt.TypeProtoCompact, expfmt.TypeUnknown: // for people who look at a page
	}
	var err error
	for f := range p.Parts(i, math.MaxInt) {
		err = e.series.Encode(f)
	}
	return err
}

// text writes a family in parts, of which only the first keeps the lines about the family.
func (e *encoder) text(p page, i int) error {
	first := true
	for f := range p.Parts(i, partSize) {
		var histograms []*dto.Metric
		if f.GetType() == dto.MetricType_HISTOGRAM { // one to expfmt, with the lines about the family
			f.Metric, histograms = f.Metric[:1], f.Metric[1:]
		}
		if !first {
			if err := e.lines.Flush(); err != nil {
				return err
			}
			f.Help, e.trim.skip = nil, true // what is left is the line with the type
		}
		first = false
		if err := e.series.Encode(f); err != nil {
			return err
		}
		if err := e.textHistograms(f.GetName(), histograms); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) textHistograms(family string, all []*dto.Metric) error {
	w := &e.histograms
	for _, m := range all {
		w.out = w.out[:0]
		w.append(family, m)
		if _, err := e.lines.Write(w.out); err != nil {
			return err
		}
	}
	return nil
}

// delimited writes a family as a message after its length, which is known only in the end: parts of
// a message that are joined are the message.
func (e *encoder) delimited(p page, i int) error {
	parts, size := 0, 0
	for f := range p.Parts(i, partSize) {
		if parts > 0 {
			f.Name, f.Help, f.Type = nil, nil, nil
		}
		if parts == len(e.message) {
			e.message = append(e.message, nil)
		}
		part, err := proto.MarshalOptions{}.MarshalAppend(e.message[parts][:0], f)
		if err != nil {
			return err
		}
		e.message[parts] = part
		parts, size = parts+1, size+len(part)
	}
	if size == 0 {
		return nil
	}
	var length [binary.MaxVarintLen64]byte
	if _, err := e.lines.Write(binary.AppendUvarint(length[:0], uint64(size))); err != nil {
		return err
	}
	for _, part := range e.message[:parts] {
		if _, err := e.lines.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// A trimmer leaves out the first line of what is written after skip is set.
type trimmer struct {
	to   io.Writer
	skip bool
}

// Write implements io.Writer.
func (t *trimmer) Write(b []byte) (int, error) {
	rest := b
	if t.skip {
		_, after, found := bytes.Cut(b, []byte{'\n'})
		if !found {
			return len(b), nil
		}
		rest, t.skip = after, false
	}
	n, err := t.to.Write(rest)
	return len(b) - len(rest) + n, err
}

// A client remembers that it could not be written to.
type client struct {
	io.Writer
	err error
}

// Write implements io.Writer.
func (c *client) Write(b []byte) (n int, err error) {
	if c.err == nil {
		n, c.err = c.Writer.Write(b)
	}
	return n, c.err
}
