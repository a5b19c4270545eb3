package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/tunnelmtu"
)

// perPage is how many peers a page lists.
const perPage = 100

// A listing is what the list of peers is asked for.
type listing struct {
	// Text is looked for in names, addresses, labels and diagnoses.
	Text string
	// Level is a level, "fault" for all with a diagnosis, or empty; Provider is one provider or
	// empty.
	Level, Provider string
	// Sort is one of orders.
	Sort string
	Page int
	// Refresh is the time after which the page is loaded again, 0 for never.
	Refresh int
}

// refreshEvery is how often a page is loaded again, in seconds, unless that is paused.
const refreshEvery = 30

// Names in the query of a page. refreshOff is the value that pauses the refresh.
const (
	queryText, queryLevel, queryProvider, querySort, queryPage = "q", "level", "provider", "sort", "page"
	queryRefresh, refreshOff                                   = "refresh", "off"
	anyFault                                                   = "fault"
)

// An order is a way to sort the list.
type order struct {
	Name, Title string
	compare     func(a, b *entry) int
}

// orders are all orders, the default one first.
func orders() []order {
	name := func(a, b *entry) int { return strings.Compare(a.Peer, b.Peer) }
	return []order{
		{"worst", "worst first", func(a, b *entry) int {
			return cmp.Or(cmp.Compare(a.rank, b.rank), b.Since().Compare(a.Since()), name(a, b))
		}},
		{"name", "by name", name},
		{"provider", "by provider", func(a, b *entry) int {
			return cmp.Or(strings.Compare(a.Provider, b.Provider), cmp.Compare(a.rank, b.rank), name(a, b))
		}},
		{"since", "longest fault first", func(a, b *entry) int {
			return cmp.Or(compareTimes(a.Since(), b.Since()), name(a, b))
		}},
		{"age", "oldest result first", func(a, b *entry) int {
			return cmp.Or(compareTimes(oldest(a.Report), oldest(b.Report)), name(a, b))
		}},
	}
}

// compareTimes puts the zero time last.
func compareTimes(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return 1
	case b.IsZero():
		return -1
	}
	return a.Compare(b)
}

// readListing reads the query of a request. What it does not know is as if it were absent.
func readListing(r *http.Request) listing {
	q := r.URL.Query()
	l := listing{Text: q.Get(queryText), Level: q.Get(queryLevel), Provider: q.Get(queryProvider), Sort: orders()[0].Name, Page: 1, Refresh: refresh(r)}
	if l.Level != anyFault && level(l.Level).rank() < 0 {
		l.Level = ""
	}
	if slices.ContainsFunc(orders(), func(o order) bool { return o.Name == q.Get(querySort) }) {
		l.Sort = q.Get(querySort)
	}
	if n, err := strconv.Atoi(q.Get(queryPage)); err == nil && n > 1 {
		l.Page = n
	}
	return l
}

// refresh is when a page is loaded again.
func refresh(r *http.Request) int {
	if r.URL.Query().Get(queryRefresh) == refreshOff {
		return 0
	}
	return refreshEvery
}

// With returns the query of the listing with one value replaced, and removed if it is empty.
// Another list begins at its first page.
func (l *listing) With(name, value string) string {
	q := url.Values{queryText: {l.Text}, queryLevel: {l.Level}, queryProvider: {l.Provider}, querySort: {l.Sort}}
	if l.Sort == orders()[0].Name {
		q.Del(querySort)
	}
	if l.Page > 1 && name == queryRefresh {
		q.Set(queryPage, strconv.Itoa(l.Page))
	}
	if l.Refresh == 0 {
		q.Set(queryRefresh, refreshOff)
	}
	q.Set(name, value)
	for key := range q {
		if q.Get(key) == "" {
			q.Del(key)
		}
	}
	return "?" + q.Encode()
}

// Resumed is the query of the same listing with the refresh, or without it while it runs.
func (l *listing) Resumed() string {
	if l.Refresh == 0 {
		return l.With(queryRefresh, "")
	}
	return l.With(queryRefresh, refreshOff)
}

// An entry is a peer in the list.
type entry struct {
	*report.Report
	Level    level
	Provider string
	rank     int
	// Diagnoses are the worst first. Action is what to do about the first one.
	Diagnoses []diagnosis.Held
	Action    string
}

func newEntry(r *report.Report) entry {
	l := levelOf(r)
	return entry{Report: r, Level: l, Provider: provider(r), rank: l.rank(), Diagnoses: worstFirst(r.Diagnoses)}
}

// Since is since when the worst diagnosis holds, zero without one.
func (e *entry) Since() time.Time {
	if len(e.Diagnoses) == 0 {
		return time.Time{}
	}
	return e.Diagnoses[0].Since
}

// Measurements are how old the results are.
func (e *entry) Measurements() []measurement { return measurements(e.Report) }

// Facts are the numbers of a healthy path in one line.
func (e *entry) Facts() string {
	var parts []string
	if e.ICMP != nil && e.ICMP.Received > 0 {
		parts = append(parts, "round trip "+millis(e.ICMP.Last))
		if lost := e.LostEchoes(); lost.Lost > 0 {
			parts = append(parts, percent(lost.Share())+" lost")
		}
	}
	if e.PMTU != nil {
		if bytes := tunnelmtu.PathMTU(e.PMTU.Results); bytes > 0 {
			parts = append(parts, fmt.Sprintf("path MTU %d bytes", bytes))
		}
	}
	return strings.Join(parts, ", ")
}

// matches reports whether the listing asks for a peer.
func (l *listing) matches(e *entry) bool {
	switch {
	case l.Level == anyFault && !e.Level.Fault(),
		l.Level != "" && l.Level != anyFault && level(l.Level) != e.Level,
		l.Provider != "" && l.Provider != e.Provider:
		return false
	case l.Text == "":
		return true
	}
	text := strings.ToLower(l.Text)
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	if has(e.Peer) || has(e.Host) || has(e.Where()) {
		return true
	}
	for _, value := range e.Labels {
		if has(value) {
			return true
		}
	}
	return slices.ContainsFunc(e.Diagnoses, func(h diagnosis.Held) bool { return has(h.Name) || has(h.Summary) })
}

// An index is the page with the list of peers.
type index struct {
	Status
	listing
	Telemetry string
	Now       time.Time
	Counts    map[level]int
	// Faults counts the peers with a diagnosis, Total all of them, Found the ones that are asked
	// for.
	Faults, Total, Found int
	Providers            []providerCount
	Entries              []entry
	Orders               []order
	Levels               []level
}

// A providerCount is how many peers of a provider have a fault.
type providerCount struct {
	Name          string
	Faults, Total int
}

// newIndex sorts, filters and divides the list.
func newIndex(s Status, l listing, now time.Time) *index {
	x := &index{Status: s, listing: l, Now: now, Counts: make(map[level]int), Total: len(s.Peers), Orders: orders(), Levels: levels[:]}
	providers := make(map[string]*providerCount)
	for _, r := range s.Peers {
		e := newEntry(r)
		x.Counts[e.Level]++
		of := providers[e.Provider]
		if of == nil {
			of = &providerCount{Name: e.Provider}
			providers[e.Provider] = of
		}
		of.Total++
		if e.Level.Fault() {
			x.Faults++
			of.Faults++
		}
		if l.matches(&e) {
			x.Entries = append(x.Entries, e)
		}
	}
	x.Found = len(x.Entries)
	by := orders()[slices.IndexFunc(orders(), func(o order) bool { return o.Name == l.Sort })]
	slices.SortFunc(x.Entries, func(a, b entry) int { return by.compare(&a, &b) })
	x.Page = min(x.Page, max(1, x.Pages()))
	first := (x.Page - 1) * perPage
	x.Entries = x.Entries[min(first, x.Found):min(first+perPage, x.Found)]
	for _, p := range providers {
		if p.Name != "" && p.Faults > 0 {
			x.Providers = append(x.Providers, *p)
		}
	}
	slices.SortFunc(x.Providers, func(a, b providerCount) int {
		return cmp.Or(cmp.Compare(b.Faults, a.Faults), strings.Compare(a.Name, b.Name))
	})
	x.Providers = x.Providers[:min(len(x.Providers), shownProviders)]
	return x
}

// shownProviders is how many providers the summary names.
const shownProviders = 6

// Pages is the number of pages.
func (x *index) Pages() int { return (x.Found + perPage - 1) / perPage }

// Worst is the worst level that any peer has, unknown without peers.
func (x *index) Worst() string {
	for _, l := range levels {
		if x.Counts[l] > 0 {
			return string(l)
		}
	}
	return string(unknown)
}

// Summary is the state of all peers in one line.
func (x *index) Summary() string {
	if x.Total == 0 {
		return "No peers are configured"
	}
	var counts []string
	for _, l := range levels {
		if n := x.Counts[l]; n > 0 && l != healthy {
			counts = append(counts, fmt.Sprintf("%d %s", n, l))
		}
	}
	s := "No fault at " + count(x.Total, "peer")
	if x.Faults > 0 {
		s = fmt.Sprintf("%d of %s have a fault", x.Faults, count(x.Total, "peer"))
	}
	if len(counts) > 0 {
		s += ": " + strings.Join(counts, ", ")
	}
	return s
}

// index serves the list of peers.
func (s *site) index(w http.ResponseWriter, r *http.Request) {
	x := newIndex(s.Status(), readListing(r), s.now())
	x.Telemetry = s.telemetry
	for i := range x.Entries { // of one page: 5,000 actions would take long
		e := &x.Entries[i]
		if len(e.Diagnoses) == 0 {
			continue
		}
		if items := s.actions(e.Report, e.Diagnoses[0].Name, e.Diagnoses[0].Gateway); len(items) > 0 {
			e.Action = items[0]
		}
	}
	s.page(w, r, "index.html", x)
}
