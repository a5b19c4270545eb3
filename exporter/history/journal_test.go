package history

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
)

// writerEnv makes the test binary write into the directory that it names, until it is killed.
const writerEnv = "HISTORY_WRITER"

// perWrite is how many changes the writer adds at once.
const perWrite = 20

// writeUntilKilled adds changes and compacts as fast as it can, and prints the number of the newest
// change on the disk.
func writeUntilKilled(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	j, err := openJournal(dir, quiet())
	fail(err)
	var kept []record
	_, err = j.load(func(r record) {
		if r.Change != nil {
			kept = append(kept, r)
		}
	})
	fail(err)
	next := 0
	if len(kept) > 0 {
		next, err = strconv.Atoi(strings.TrimPrefix(kept[len(kept)-1].Change.Summary, "change "))
		fail(err)
		next++
	}
	line := strings.Repeat("evidence ", 20)
	for round := 0; ; round++ {
		batch := []record{{Peer: "hq", State: &state{Seen: time.Now()}}}
		for range perWrite {
			c := change(next)
			c.Evidence = []string{line, line, line}
			batch = append(batch, record{Peer: "hq", Change: &c})
			next++
		}
		kept = append(kept, batch[1:]...)
		kept = kept[max(0, len(kept)-300):]
		if round%5 == 4 {
			fail(j.replace(kept))
		} else {
			fail(j.add(batch))
		}
		fmt.Fprintln(os.Stdout, next-1)
	}
}

// TestKilledWriter: after a process was killed, everything that it reported as written is there,
// whole and in order, and nothing is reported as damaged.
func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	written := -1
	for round := range 6 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatalf("the writer wrote nothing: %s", stderr.String())
		}
		time.AfterFunc(time.Duration(20+rand.IntN(150))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for ok := true; ok; ok = lines.Scan() {
			if written, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
		}
		_ = cmd.Wait() // it was killed
		var log bytes.Buffer
		h, err := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		all := h.Changes("hq")
		first, last := number(t, all[0]), number(t, all[len(all)-1])
		if last < written || last > written+perWrite || len(all) != last-first+1 || len(all) < min(300, last) {
			t.Errorf("round %d: %d changes from %d to %d, but %d was reported", round, len(all), first, last, written)
		}
		closeHistory(t, h)
		if log.Len() > 0 {
			t.Errorf("round %d: %s", round, log.String())
		}
	}
	t.Logf("%d changes were written", written+1)
}

func number(t *testing.T, c Change) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimPrefix(c.Summary, "change "))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	h := openHistory(t, dir)
	_, err := Open(dir, quiet())
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), filepath.Join(dir, fileName)) {
		t.Errorf("the second one: %v", err)
	}
	closeHistory(t, h)
	closeHistory(t, openHistory(t, dir))
}

// TestBackup: a copy of the journal alone, made while it is written, is the history up to then.
func TestBackup(t *testing.T) {
	var log bytes.Buffer
	dir, copied := filled(t, 3), t.TempDir()
	h := openHistory(t, dir)
	text, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	cut := text[:len(text)-10] // the copy ended while the last line was written
	if err := os.WriteFile(filepath.Join(copied, fileName), cut, 0o600); err != nil {
		t.Fatal(err)
	}
	restored, err := Open(copied, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer closeHistory(t, restored)
	defer closeHistory(t, h)
	all, some := 0, 0
	for name := range h.peers {
		all, some = all+len(h.Changes(name)), some+len(restored.Changes(name))
	}
	if all < 3 || some != all-1 || log.Len() > 0 {
		t.Errorf("%d of %d changes are restored; logged: %s", some, all, &log)
	}
}

// TestNewerVersion: a record of a newer version is not lost, because the journal is left alone.
func TestNewerVersion(t *testing.T) {
	dir := filled(t, 3)
	path := filepath.Join(dir, fileName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{
		`{"v":2,"n":99,"kind":"merged"}`, `{"v":2,"n":99,"peer":["hq"],"change":7}`, `{"v":2,"n":"x","peer":"hq","change":{"at":"soon"}}`,
	} {
		newer := append(bytes.Clone(good), "\n"+checksum([]byte(body))+" "+body+"\n"...)
		if err := os.WriteFile(path, newer, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the error leaves nothing locked
			if _, err := Open(dir, quiet()); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s: %v", body, err)
			}
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(newer, after) {
			t.Errorf("%s: the journal has changed: %v", body, err)
		}
	}
}

// TestInvalidRecord: an intact record of this version with unknown content is counted and copied.
func TestInvalidRecord(t *testing.T) {
	dir := filled(t, 3)
	path := filepath.Join(dir, fileName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const body = `{"v":1,"n":5,"peer":"hq","note":"of another program"}`
	strange := append(good, "\n"+checksum([]byte(body))+" "+body+"\n"...)
	if err := os.WriteFile(path, strange, 0o600); err != nil {
		t.Fatal(err)
	}
	log := new(bytes.Buffer)
	h, err := Open(dir, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	closeHistory(t, h)
	if !strings.Contains(log.String(), "lost_records=1 ") {
		t.Errorf("log: %s", log)
	}
	if kept, err := os.ReadFile(path + damagedSuffix); err != nil || !bytes.Equal(kept, strange) {
		t.Errorf("the copy has %d bytes: %v", len(kept), err)
	}
}

// TestOlderDatabase: the database of an older version is renamed with one warning, never replaced,
// and the history starts.
func TestOlderDatabase(t *testing.T) {
	dir := t.TempDir()
	database := filepath.Join(dir, databaseName)
	log := new(bytes.Buffer)
	for i, want := range []string{database + ".old", database + ".old.1", database + ".old.2"} {
		if err := os.WriteFile(database, []byte(strconv.Itoa(i)), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			h, err := Open(dir, slog.New(slog.NewTextHandler(log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			h.Add("hq", change(i))
			closeHistory(t, h)
		}
		if b, err := os.ReadFile(want); err != nil || string(b) != strconv.Itoa(i) {
			t.Errorf("%s contains %q: %v", want, b, err)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), database) || !strings.Contains(log.String(), want) {
			t.Errorf("%d warnings: %s", n, log)
		}
		log.Reset()
	}
}

// tmpfs mounts a file system of a size, which ends with the test.
func tmpfs(t *testing.T, data string) string {
	t.Helper()
	netlab.Need(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestUnwritableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly := tmpfs(t, "size=1m")
	if err := unix.Mount("", readOnly, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), readOnly, filepath.Join(readOnly, "below")} {
		if _, err := Open(dir, quiet()); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		} else {
			t.Log(err)
		}
	}
}

// TestFullDisk: while the disk is full everything is kept in memory, and it is written when there
// is space again. What was written before stays.
func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, "size=1m")
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		h, err := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			h.Add("hq", change(i))
		}
		time.Sleep(2 * flushDelay)
		ballast := filepath.Join(dir, "ballast")
		_ = os.WriteFile(ballast, make([]byte, 1<<20), 0o600) // until it is full
		for i := range 350 {
			h.Add("hq", change(50+i))
		}
		time.Sleep(10 * time.Minute)
		if len(h.Changes("hq")) != 400 {
			t.Errorf("%d changes are in memory", len(h.Changes("hq")))
		}
		if n := onDisk(t, dir); n < 50 || n == 400 {
			t.Errorf("%d changes are on the full disk", n)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if n := onDisk(t, dir); n != 400 {
			t.Errorf("%d changes are on the disk", n)
		}
		closeHistory(t, h)
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "written again") {
			t.Errorf("%d errors in the log: %s", n, log.String())
		}
	})
}

// onDisk returns the number of changes in the journal of a directory.
func onDisk(t *testing.T, dir string) (n int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	var r reader
	if err := r.read(bytes.NewReader(b), func(r record) {
		if r.Change != nil {
			n++
		}
	}); err != nil || r.lost > 0 {
		t.Errorf("%d records are lost: %v", r.lost, err)
	}
	return n
}

// TestBoundedFile adds three times what is kept, of the kind that is longest in the file.
func TestBoundedFile(t *testing.T) {
	dir := t.TempDir()
	log := new(bytes.Buffer)
	synctest.Test(t, func(t *testing.T) {
		h, err := Open(dir, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		line := strings.Repeat(`"`, maxLine) // twice as long in JSON
		largest := int64(0)
		for i := range 3 * maxHistory / 2500 {
			c := change(i)
			c.Evidence = []string{line, line, line, line, line, line, line}
			h.Add("peer-"+strconv.Itoa(i%1000), c)
			if i%1000 == 0 {
				time.Sleep(5 * time.Second)
				info, err := os.Stat(filepath.Join(dir, fileName))
				if err != nil {
					t.Fatal(err)
				}
				largest = max(largest, info.Size())
			}
		}
		t.Logf("the file grew to %.1f MiB with %.1f MiB in memory", float64(largest)/(1<<20), mib(h.size))
		if largest > maxFile || largest < maxHistory || log.Len() > 0 {
			t.Errorf("%d bytes, log %s", largest, log)
		}
		closeHistory(t, h)
		h = openHistory(t, dir)
		if got := len(h.Changes("peer-0")); got < 3 {
			t.Errorf("%d changes are left", got)
		}
		closeHistory(t, h)
	})
}

// TestWritesDoNotWait: no caller waits for the disk during a burst, and all of it is on the disk in
// the end.
func TestWritesDoNotWait(t *testing.T) {
	dir := t.TempDir()
	h := openHistory(t, dir)
	slowest := time.Duration(0)
	for i := range 20_000 {
		began := time.Now()
		h.Add("peer-"+strconv.Itoa(i%100), change(i))
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("the slowest of 20,000 additions took %s", slowest)
	if slowest > time.Second {
		t.Errorf("an addition took %s", slowest)
	}
	closeHistory(t, h)
	h = openHistory(t, dir)
	defer closeHistory(t, h)
	if got := h.Changes("peer-99"); len(got) != 200 || got[199].Summary != "change 19999" {
		t.Errorf("%d changes are on the disk", len(got))
	}
}
