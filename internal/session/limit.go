package session

import "time"

// A limit lets events pass at a rate, after a burst of one second's worth.
type limit struct {
	free time.Time // when all events so far are paid for
}

// take reports whether one more event passes at perSecond events per second.
func (l *limit) take(now time.Time, perSecond int) bool {
	if l.free.Before(now) {
		l.free = now
	}
	next := l.free.Add(time.Second / time.Duration(max(perSecond, 1)))
	if next.Sub(now) > time.Second {
		return false
	}
	l.free = next
	return true
}
