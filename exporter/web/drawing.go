package web

import (
	"fmt"
	"strings"
)

// Sizes of the drawing of a path, in the units of its view box. It fits a phone of 360 pixels.
const (
	laneWidth, laneLeft = 24, 12
	headHeight          = 62
	placeHeight         = 40
	letterWidth         = 6.4
	breakAt             = 22
	gapSize             = 6
)

// A drawing is a path with coordinates.
type drawing struct {
	*hopTable
	Width, Height int
	TextX         int
	Rows          []drawnPlace
	Columns       []drawnLane
}

// A drawnPlace is a router, or an end, in one line or two.
type drawnPlace struct {
	Y     int
	Lines []string
	// End means this host or the peer.
	End bool
}

// Upper and Lower are the heights of two lines.
func (p *drawnPlace) Upper() int { return p.Y - 7 }

// Lower is Upper for the second line.
func (p *drawnPlace) Lower() int { return p.Y + 8 }

// A drawnLane is a lane with its line, and with a mark where it ends early.
type drawnLane struct {
	lane
	X int
	// From and To are the ends of the line of what is known to pass, Rest is where the lane ends.
	From, To, Rest int
	// MarkY is the middle of the mark, 0 without one.
	MarkY int
	// Class is the reach in one word, for styles; Arrow are the points of the arrow head.
	Class string
	// Tip is where the arrow head is, TipBack where its other corners are; 0 without one.
	Tip, TipBack int
}

// Left, Right, Above and Below are the corners of the mark.
func (l *drawnLane) Left() int  { return l.X - gapSize }
func (l *drawnLane) Right() int { return l.X + gapSize }
func (l *drawnLane) Above() int { return l.MarkY - gapSize }
func (l *drawnLane) Below() int { return l.MarkY + gapSize }

// Edge is where the lines of the places end.
func (d *drawing) Edge() int { return d.TextX - 6 }

func placeY(i int) int { return headHeight + 12 + i*placeHeight }

// draw returns the drawing of a path, nil without one.
func draw(p *hopTable) *drawing {
	if p == nil {
		return nil
	}
	d := &drawing{hopTable: p, TextX: laneLeft + laneWidth*len(p.Lanes) + 2}
	d.Height = placeY(p.end()) + 20
	longest := len("no answer")
	for i, name := range p.Places {
		row := drawnPlace{Y: placeY(i), Lines: brokenAddress(name), End: true}
		last := &row.Lines[len(row.Lines)-1]
		switch i {
		case 0:
			*last += " (here)"
		case p.end():
			*last += " (peer)"
		default:
			row.Lines[0], row.End = fmt.Sprintf("%d  %s", i, row.Lines[0]), false
		}
		d.Rows = append(d.Rows, row)
		for _, line := range row.Lines {
			longest = max(longest, len(line))
		}
	}
	d.Width = d.TextX + int(float64(longest)*letterWidth) + 6
	for i := range p.Lanes {
		d.Columns = append(d.Columns, p.draw(p.Lanes[i], laneLeft+i*laneWidth))
	}
	return d
}

// draw places one lane.
func (p *hopTable) draw(l lane, x int) drawnLane {
	first, last := placeY(0), placeY(p.end())
	step := placeHeight / 2
	if l.Back {
		first, last, step = last, first, -step
	}
	out := drawnLane{lane: l, X: x, From: first, To: placeY(l.Hop), Rest: last, Class: strings.ReplaceAll(string(l.Reach), " ", "-")}
	switch l.Reach {
	case through:
		out.To = last
		out.Tip, out.TipBack = last, last-step/2
	case gone:
		out.MarkY = out.To + step
		if l.Next > 0 {
			out.MarkY = (out.To + placeY(l.Next)) / 2
		}
	case silent:
		out.MarkY = last - step
		if l.Back {
			out.To = first
		}
	case open:
	}
	return out
}

// brokenAddress breaks a long IPv6 address into two lines.
func brokenAddress(s string) []string {
	if len(s) <= breakAt {
		return []string{s}
	}
	at := strings.LastIndex(s[:breakAt], ":") + 1
	if at == 0 {
		return []string{s}
	}
	return []string{s[:at], s[at:]}
}
