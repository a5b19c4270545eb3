package history

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
)

// The files in the directory of a History.
const (
	fileName = "history.journal"
	// lockName is locked while the directory is in use: the journal itself may be replaced. It
	// holds the number of the last record, which shows that the end of the journal is missing.
	lockName = "history.lock"
	// newSuffix is for an incomplete journal, damagedSuffix for a copy of the last damaged one.
	newSuffix, damagedSuffix = ".new", ".damaged"
	// databaseName is the file of versions that kept the history in a bbolt database.
	databaseName = "history.db"
	asideSuffix  = ".old"

	dirMode, fileMode = 0o750, 0o640

	// A journal is compacted when it is twice as large as after the last compaction, but neither
	// below minFile nor beyond maxFile. The content is at most half of maxFile: no record is longer
	// than twice the memory that it counts for.
	minFile, maxFile = 1 << 20, 64 << 20
)

// ErrInUse is the error of a directory that another process uses.
var ErrInUse = errors.New("in use by another process")

// ErrNewer is the error of a journal that a newer version of this program has written.
var ErrNewer = errors.New("written by a newer version of this program")

// errLarge is the error of records that do not fit into the journal without compaction.
var errLarge = errors.New("journal too large")

// A file is what a journal needs of an *os.File.
type file interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

// A journal is the file of a History, and the right to write it. It is not safe for concurrent use.
type journal struct {
	path string
	log  *slog.Logger
	lock *os.File
	// open opens a file for appending.
	open func(path string, flags int) (file, error)
	file file
	// last is the number of the last record.
	last uint64
	// size is the size of the file, compact its size after the last compaction by this process.
	size, compact int64
}

// openJournal locks a directory, created if missing, and opens the journal in it.
func openJournal(dir string, log *slog.Logger) (*journal, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("create directory %s: %w", dir, err)
	}
	j := &journal{path: filepath.Join(dir, fileName), log: log, open: openFile}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock directory: %w", err)
	}
	j.lock = lock
	if err := j.prepare(dir); err != nil {
		lock.Close()
		return nil, err
	}
	return j, nil
}

func (j *journal) prepare(dir string) error {
	if err := lock(j.lock); err != nil {
		return fmt.Errorf("%s: %w", j.path, err)
	}
	setAside(filepath.Join(dir, databaseName), j.log)
	if err := os.Remove(j.path + newSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove incomplete journal: %w", err)
	}
	f, err := j.open(j.path, 0)
	if err != nil {
		return err
	}
	if err := syncDir(dir); err != nil { // the journal may be new
		f.Close()
		return err
	}
	j.file = f
	return nil
}

func openFile(path string, flags int) (file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|flags, fileMode)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return f, nil
}

// setAside renames the database of an older version, if there is one, to a name that is free.
func setAside(path string, log *slog.Logger) {
	if _, err := os.Lstat(path); err != nil {
		return
	}
	aside := path + asideSuffix
	for n := 1; ; n++ {
		if _, err := os.Lstat(aside); err != nil {
			break
		}
		aside = path + asideSuffix + "." + strconv.Itoa(n)
	}
	if err := os.Rename(path, aside); err != nil {
		log.Warn("history of an older version is not readable and cannot be renamed", "path", path, "err", err)
		return
	}
	log.Warn("history of an older version is not readable; keeping it under another name", "path", path, "renamed_to", aside)
}

// load calls add for all records, and reports whether the journal is damaged.
func (j *journal) load(add func(record)) (damaged bool, err error) {
	f, err := os.Open(j.path)
	if err != nil {
		return false, fmt.Errorf("open journal: %w", err)
	}
	defer f.Close()
	var r reader
	if err := r.read(f, add); err != nil {
		return false, fmt.Errorf("%s: %w", j.path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("size of journal: %w", err)
	}
	j.last, j.size = r.last, info.Size()
	lost := r.lost
	if last := j.remembered(); last > r.last {
		lost += last - r.last - r.damaged
	}
	switch {
	case r.lost > 0:
		j.log.Error("history is damaged; continuing with the intact records", "path", j.path, "lost_records", lost, "copy", j.keepDamaged())
	case lost > 0:
		j.log.Warn("history is truncated; continuing with the remaining records", "path", j.path, "lost_records", lost)
		_ = j.remember(j.last) // otherwise the next start reports the same loss again
	case r.torn:
		j.log.Debug("last record of the history is incomplete", "path", j.path)
	}
	return r.lost > 0, nil
}

// remember writes the number of the last record into the lock file. It must not exceed the number
// in the journal on the disk.
func (j *journal) remember(last uint64) error {
	body := fmt.Appendf(nil, "%020d", last) // always the same length: one write replaces it
	if _, err := j.lock.WriteAt(append([]byte(checksum(body)+" "), body...), 0); err != nil {
		return fmt.Errorf("write number of last record: %w", err)
	}
	return nil
}

// remembered returns the number in the lock file, 0 if there is none or it is damaged.
func (j *journal) remembered() uint64 {
	line, err := io.ReadAll(io.NewSectionReader(j.lock, 0, maxRecord))
	if err != nil {
		return 0
	}
	body, intact := verify(line)
	last, err := strconv.ParseUint(string(body), 10, 64)
	if !intact || err != nil {
		return 0
	}
	return last
}

// keepDamaged gives the journal a second name, under which it outlives its compaction. It returns
// an empty name where the file system does not allow that.
func (j *journal) keepDamaged() string {
	path := j.path + damagedSuffix
	_ = os.Remove(path)
	if err := os.Link(j.path, path); err != nil {
		return ""
	}
	return path
}

// add appends records, which are on the disk when it returns nil. errLarge means that nothing was
// written, and that the journal has to be replaced instead.
func (j *journal) add(records []record) error {
	var b []byte
	number := j.last
	for _, r := range records {
		number++
		b = appendRecord(b, r, number)
	}
	if j.size+int64(len(b)) > min(max(minFile, 2*j.compact), maxFile) {
		return errLarge
	}
	_, err := j.file.Write(b)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		// If this fails too, the reader skips the rest of the failed write.
		_ = j.file.Truncate(j.size)
		return fmt.Errorf("write journal: %w", err)
	}
	j.last, j.size = number, j.size+int64(len(b))
	_ = j.remember(j.last) // an older number only reports fewer lost records
	return nil
}

// replace replaces the journal by one of these records. A failure leaves the old or the new one.
func (j *journal) replace(records []record) error {
	path := j.path + newSuffix
	f, err := j.open(path, os.O_TRUNC)
	if err != nil {
		return err
	}
	size, err := writeAll(f, records)
	if err == nil { // the numbers restart, and the old one must not outlive the old journal
		err = errors.Join(j.remember(0), j.lock.Sync())
	}
	if err == nil {
		err = os.Rename(path, j.path)
	}
	if err != nil {
		f.Close()
		_ = os.Remove(path) // the space is needed
		return fmt.Errorf("compact journal: %w", err)
	}
	j.file.Close()
	j.file, j.last, j.size, j.compact = f, uint64(len(records)), size, size
	if err := syncDir(filepath.Dir(j.path)); err != nil {
		return err
	}
	_ = j.remember(j.last) // an older number only reports fewer lost records
	return nil
}

func writeAll(f file, records []record) (size int64, err error) {
	w := bufio.NewWriterSize(f, maxRecord)
	var b []byte
	for i, r := range records {
		b = appendRecord(b[:0], r, uint64(i)+1)
		size += int64(len(b))
		if _, err := w.Write(b); err != nil {
			return 0, err
		}
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	return size, f.Sync()
}

// syncDir writes the names in a directory to the disk.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

func (j *journal) close() error {
	return errors.Join(j.lock.Sync(), j.file.Close(), j.lock.Close())
}

// memory is the storage of a History without a directory.
type memory struct{}

func (memory) add([]record) error     { return nil }
func (memory) replace([]record) error { return nil }
func (memory) close() error           { return nil }
