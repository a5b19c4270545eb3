package web

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"sync"
)

// worthCompressing is the size from which compression saves a packet.
const worthCompressing = 1400

// compressors are used again: one takes hundreds of KiB.
var compressors = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// compressed returns a page as the client accepts it, and sets the headers for that.
func compressed(header http.Header, r *http.Request, page []byte) []byte {
	header.Add("Vary", "Accept-Encoding")
	if len(page) < worthCompressing || !acceptsGzip(r.Header.Get("Accept-Encoding")) {
		return page
	}
	w := compressors.Get().(*gzip.Writer) //nolint:errcheck // nothing else is in there
	defer compressors.Put(w)
	var b bytes.Buffer
	w.Reset(&b)
	if _, err := w.Write(page); err != nil {
		return page
	}
	if err := w.Close(); err != nil {
		return page
	}
	header.Set("Content-Encoding", "gzip")
	return b.Bytes()
}

// acceptsGzip reports whether a client lists gzip, and does not refuse it with q=0 (RFC 9110,
// section 12.5.3).
func acceptsGzip(accepted string) bool {
	for part := range strings.SplitSeq(accepted, ",") {
		name, weight, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) != "gzip" {
			continue
		}
		weight = strings.TrimSpace(weight)
		return !strings.HasPrefix(weight, "q=0") || strings.Trim(weight, "q=0.") != ""
	}
	return false
}
