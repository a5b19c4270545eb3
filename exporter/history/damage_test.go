package history

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// filled returns a directory with a history of a number of changes.
func filled(tb testing.TB, changes int) string {
	tb.Helper()
	dir := tb.TempDir()
	h, err := Open(dir, quiet())
	if err != nil {
		tb.Fatal(err)
	}
	h.SetBaseline("hq", baseline())
	for i := range changes {
		h.Add("peer-"+strconv.Itoa(i%7), change(i))
		if i%10 == 9 {
			b := baseline()
			b.Bytes["icmp"] = i
			h.SetBaseline("hq", b)
		}
	}
	if err := h.Close(); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// journalOf returns the journal of such a history.
func journalOf(tb testing.TB, changes int) []byte {
	tb.Helper()
	return readFile(tb, filepath.Join(filled(tb, changes), fileName))
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// An extent is a record and where it is in a journal.
type extent struct {
	record
	start, end int
}

// extents returns all records of an undamaged journal.
func extents(tb testing.TB, journal []byte) []extent {
	tb.Helper()
	var all []extent
	at := 0
	for line := range bytes.SplitSeq(bytes.Trim(journal, "\n"), []byte("\n\n")) {
		end := at + len(line) + 2
		records, d := readAll(tb, journal[at:end])
		if len(records) != 1 || d.torn {
			tb.Fatalf("%d records in %q", len(records), line)
		}
		all = append(all, extent{records[0], at, end})
		at = end
	}
	if at != len(journal) {
		tb.Fatalf("the records end at %d of %d bytes", at, len(journal))
	}
	return all
}

func readAll(tb testing.TB, journal []byte) ([]record, damage) {
	tb.Helper()
	var all []record
	var r reader
	if err := r.read(bytes.NewReader(journal), func(r record) { all = append(all, r) }); err != nil {
		tb.Fatal(err)
	}
	return all, r.damage
}

// A trial is a damaged journal. touched reports whether the damage reaches into a range of bytes of
// the undamaged one.
type trial struct {
	name    string
	journal []byte
	touched func(start, end int) bool
}

// trials returns journals that are damaged in every way: 470 of them.
func trials(original []byte, random *rand.Rand) []trial {
	var all []trial
	overwrite := func(name string, change func(b []byte) (at, length int), times int) {
		b := bytes.Clone(original)
		var ranges [][2]int
		for range times {
			at, n := change(b)
			ranges = append(ranges, [2]int{at, at + n})
		}
		all = append(all, trial{name, b, func(start, end int) bool {
			for _, r := range ranges {
				if r[0] < end && start < r[1] {
					return true
				}
			}
			return false
		}})
	}
	size := len(original)
	for i := range 250 {
		overwrite("flipped bits "+strconv.Itoa(i), func(b []byte) (int, int) {
			at := random.IntN(size)
			b[at] ^= 1 << random.IntN(8)
			return at, 1
		}, 1+i%3)
	}
	for i := range 60 {
		overwrite("zeros "+strconv.Itoa(i), func(b []byte) (int, int) {
			at, n := random.IntN(size), 1+random.IntN(3000)
			n = min(n, size-at)
			clear(b[at : at+n])
			return at, n
		}, 1)
		overwrite("random page "+strconv.Itoa(i), func(b []byte) (int, int) {
			at := random.IntN(size) &^ 511
			n := min(512, size-at)
			for k := range n {
				b[at+k] = byte(random.Uint32())
			}
			return at, n
		}, 1)
	}
	for i := range 60 {
		cut := random.IntN(size)
		all = append(all, trial{"truncated " + strconv.Itoa(i), original[:cut:cut], func(_, end int) bool { return end > cut }})
	}
	for i := range 40 {
		at := random.IntN(size)
		end := min(size, at+1+random.IntN(2000))
		b := append(bytes.Clone(original[:at]), original[end:]...)
		all = append(all, trial{"missing part " + strconv.Itoa(i), b, func(s, e int) bool { return at < e && s < end }})
	}
	return all
}

// TestDamage: a damaged record is lost or comes back as it was, never altered. Every record that
// the damage did not touch comes back, in order. What is lost is logged once, and a copy is kept.
func TestDamage(t *testing.T) {
	dir := filled(t, 400)
	original := readFile(t, filepath.Join(dir, fileName))
	number := readFile(t, filepath.Join(dir, lockName))
	all := extents(t, original)
	lostRecords, lostAll, touchedRecords, altered := 0, 0, 0, 0
	damaged := trials(original, rand.New(rand.NewPCG(1, 2)))
	for i, trial := range damaged {
		got, d := readAll(t, trial.journal)
		next, lost := 0, 0
		for _, e := range all {
			touched := trial.touched(e.start, e.end)
			if touched {
				touchedRecords++
			}
			switch {
			case next < len(got) && got[next].Number == e.Number:
				was, is := original[e.start:e.end], appendRecord(nil, got[next], e.Number)
				if !bytes.Equal(was, is) {
					altered++
					t.Errorf("%s: record %d is altered from %q to %q", trial.name, e.Number, was, is)
				}
				next++
			case !touched:
				t.Errorf("%s: record %d is lost, which is not damaged", trial.name, e.Number)
			default:
				lost++
			}
		}
		if next != len(got) {
			t.Errorf("%s: %d records appear from nowhere", trial.name, len(got)-next)
		}
		if lost == len(all) {
			lostAll++
		}
		lostRecords += lost
		checkReported(t, trial, lost, all[len(all)-1], d)
		if i%3 == 0 { // opening syncs files, which takes most of the time
			checkReopened(t, trial, number, got, lost, d)
		}
	}
	t.Logf("%d trials over %d records: %d records touched, %d lost, %d altered, %d journals lost", len(damaged), len(all), touchedRecords, lostRecords, altered, lostAll)
	if len(damaged) < 400 || altered > 0 || lostRecords > touchedRecords {
		t.Error("too few trials, or too much damage")
	}
}

// checkReported compares what the reader reports with the number of missing records. What is
// missing behind the last intact record shows there only as damaged lines, or not at all: only the
// number beside the journal shows it.
func checkReported(t *testing.T, trial trial, lost int, last extent, d damage) {
	t.Helper()
	switch {
	case strings.HasPrefix(trial.name, "truncated"):
		if d.lost != 0 {
			t.Errorf("%s: the reader counts a torn end as %d lost records", trial.name, d.lost)
		}
	case !trial.touched(last.start, last.end):
		if d.lost != uint64(lost) || d.torn {
			t.Errorf("%s: %d records are lost, reported is %+v", trial.name, lost, d)
		}
	case lost > 0 && d.lost == 0 && !d.torn && !trial.touched(len(trial.journal), len(trial.journal)+1):
		t.Errorf("%s: %d lost records are not reported", trial.name, lost)
	}
}

// checkReopened opens a damaged journal beside its last number, and opens it again after a change
// was added. All lost records are reported, once.
func checkReopened(t *testing.T, trial trial, number []byte, want []record, lost int, d damage) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	for name, b := range map[string][]byte{fileName: trial.journal, lockName: number} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	for round := range 2 {
		h, err := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatalf("%s: %v", trial.name, err)
		}
		changes := round
		for i := range 7 {
			changes += len(h.Changes("peer-" + strconv.Itoa(i)))
		}
		for _, r := range want {
			if r.Change != nil {
				changes--
			}
		}
		if changes != round || len(h.Changes("new")) != round {
			t.Errorf("%s: %d changes more than intact records in round %d, %d new", trial.name, changes, round, len(h.Changes("new")))
		}
		h.Add("new", change(1))
		closeHistory(t, h)
	}
	line := ""
	switch kept, err := os.ReadFile(path + damagedSuffix); {
	case d.lost > 0:
		line = fmt.Sprintf(`level=ERROR msg="history is damaged; continuing with the intact records" path=%s lost_records=%d copy=%s`, path, lost, path+damagedSuffix)
		if err != nil || !bytes.Equal(kept, trial.journal) {
			t.Errorf("%s: the copy has %d of %d bytes: %v", trial.name, len(kept), len(trial.journal), err)
		}
	case lost > 0:
		line = truncated(path, lost)
	}
	checkLog(t, trial.name, log.String(), line)
}

// truncated is the line of the log about a truncated journal.
func truncated(path string, lost int) string {
	return fmt.Sprintf(`level=WARN msg="history is truncated; continuing with the remaining records" path=%s lost_records=%d`, path, lost)
}

// checkLog checks that a log holds one line, or none if it is empty.
func checkLog(t *testing.T, name, log, want string) {
	t.Helper()
	if want == "" && log != "" || want != "" && (!strings.HasSuffix(log, " "+want+"\n") || strings.Count(log, "\n") != 1) {
		t.Errorf("%s: log %q, want %q", name, log, want)
	}
}

// TestTruncated: a journal whose end is missing is reported once, with the number of lost records.
// An unfinished record after a crash is not, nor a journal without a number beside it.
func TestTruncated(t *testing.T) {
	const changes = 30
	last := len(extents(t, journalOf(t, changes))) - 1
	// Each journal has a length of its own: times are shorter where they end in zeros.
	cut := func(size func(all []extent, whole int) int) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			t.Helper()
			b := readFile(t, path)
			if err := os.Truncate(path, int64(size(extents(t, b), len(b)))); err != nil {
				t.Fatal(err)
			}
		}
	}
	nothing := cut(func([]extent, int) int { return 0 })
	for name, c := range map[string]struct {
		damage func(t *testing.T, path string)
		lost   int
	}{
		"whole":              {cut(func(_ []extent, whole int) int { return whole }), 0},
		"last record cut":    {cut(func(all []extent, _ int) int { return all[last].end - 10 }), 1},
		"last record absent": {cut(func(all []extent, _ int) int { return all[last].start }), 1},
		"half":               {cut(func(all []extent, _ int) int { return all[last/2].end }), last - last/2},
		"empty":              {nothing, last + 1},
		"removed": {func(t *testing.T, path string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, last + 1},
		"crash": {func(t *testing.T, path string) {
			t.Helper()
			next := appendRecord(nil, record{Peer: "hq", State: &state{Seen: began()}}, uint64(last)+2)
			if err := os.WriteFile(path, append(readFile(t, path), next[:len(next)/2]...), 0o600); err != nil {
				t.Fatal(err)
			}
		}, 0},
		"damaged number": {func(t *testing.T, path string) {
			t.Helper()
			nothing(t, path)
			lock := filepath.Join(filepath.Dir(path), lockName)
			b := readFile(t, lock)
			b[len(b)-1] ^= 8
			if err := os.WriteFile(lock, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t, changes)
			path := filepath.Join(dir, fileName)
			c.damage(t, path)
			var log bytes.Buffer
			for range 2 {
				h, err := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
				if err != nil {
					t.Fatal(err)
				}
				h.Add("new", change(1))
				closeHistory(t, h)
			}
			line := ""
			if c.lost > 0 {
				line = truncated(path, c.lost)
			}
			checkLog(t, name, log.String(), line)
		})
	}
}

// TestFailedCompaction: the number beside the journal never exceeds the journal, wherever a
// compaction ends.
func TestFailedCompaction(t *testing.T) {
	dir := filled(t, 30)
	log := new(bytes.Buffer)
	j, err := openJournal(dir, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	path := j.path
	j.path = filepath.Join(dir, "absent", fileName) // the renaming fails
	j.open = func(string, int) (file, error) { return openFile(path+newSuffix, 0) }
	if err := j.replace([]record{{Peer: "hq", State: &state{Seen: began()}}}); err == nil {
		t.Fatal("the journal was replaced")
	}
	if got := j.remembered(); got != 0 {
		t.Errorf("the number is %d after a compaction that did not end", got)
	}
	j.path, j.open = path, openFile
	if err := j.replace([]record{{Peer: "hq", State: &state{Seen: began()}}}); err != nil || j.remembered() != 1 {
		t.Errorf("the number is %d after a compaction to 1 record: %v", j.remembered(), err)
	}
	if err := j.close(); err != nil {
		t.Error(err)
	}
	closeHistory(t, openHistory(t, dir))
	checkLog(t, "compaction", log.String(), "")
}

// TestForeignFile: a file that is no journal is reported, and the history starts.
func TestForeignFile(t *testing.T) {
	for name, b := range map[string][]byte{
		"text": []byte("hello"), "zeros": make([]byte, 1<<16), "one long line": bytes.Repeat([]byte("deadbeef"), 1<<17),
	} {
		if got, d := readAll(t, b); len(got) > 0 || d.lost == 0 || d.torn {
			t.Errorf("%s: %d records, %+v", name, len(got), d)
		}
	}
}

// TestEveryLength: wherever a crash ends the journal, the records before are there, the end counts
// as no damage, and a record that is appended later comes back.
func TestEveryLength(t *testing.T) {
	journal := journalOf(t, 20)
	all := extents(t, journal)
	more := appendRecord(nil, record{Peer: "later", State: &state{Seen: began()}}, uint64(len(all)+1))
	for n := range len(journal) + 1 {
		want := 0
		for want < len(all) && all[want].end-1 <= n { // the last line feed carries nothing
			want++
		}
		b := journal[:n:n]
		got, d := readAll(t, b)
		if len(got) != want || d.lost != 0 {
			t.Fatalf("%d bytes: %d records instead of %d, %+v", n, len(got), want, d)
		}
		next := appendRecord(bytes.Clone(b), record{Peer: "later", State: &state{Seen: began()}}, uint64(want+1))
		if want == len(all) {
			next = append(b, more...)
		}
		if got, d := readAll(t, next); len(got) != want+1 || d.lost != 0 {
			t.Fatalf("%d bytes and a record: %d records instead of %d, %+v", n, len(got), want+1, d)
		}
	}
	t.Logf("%d lengths of a journal of %d records", len(journal)+1, len(all))
}

// TestKilledCompaction: wherever a crash ends a compaction, nothing is lost.
func TestKilledCompaction(t *testing.T) {
	journal := journalOf(t, 60)
	records, _ := readAll(t, journal)
	compact := compacted(t, journal)
	if bytes.Equal(compact, journal) {
		t.Fatal("compaction changes nothing")
	}
	want := make(map[string]int)
	for _, r := range records {
		if r.Change != nil {
			want[r.Peer]++
		}
	}
	check := func(old, unfinished []byte) {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), old, 0o600); err != nil {
			t.Fatal(err)
		}
		if unfinished != nil {
			if err := os.WriteFile(filepath.Join(dir, fileName+newSuffix), unfinished, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		log := new(bytes.Buffer)
		h, err := Open(dir, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		for name, n := range want {
			if got := len(h.Changes(name)); got != n {
				t.Errorf("with %d bytes of the new journal %s has %d changes instead of %d", len(unfinished), name, got, n)
			}
		}
		if _, ok := h.Baseline("hq"); !ok || log.Len() > 0 {
			t.Errorf("with %d bytes of the new journal: baseline %t, log %s", len(unfinished), ok, log)
		}
		closeHistory(t, h)
	}
	for n := 0; n <= len(compact); n += 37 {
		check(journal, compact[:n])
	}
	check(journal, compact)
	check(compact, nil) // behind the renaming
}

// compacted returns what compaction makes of a journal.
func compacted(t *testing.T, journal []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	if err := os.WriteFile(path, journal, 0o600); err != nil {
		t.Fatal(err)
	}
	h := openHistory(t, dir)
	h.mu.Lock()
	h.writer.replaceAll()
	h.mu.Unlock()
	closeHistory(t, h)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
