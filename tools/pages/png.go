package main

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"maps"
	"slices"
)

// mostColours is the size of the colour table of a PNG.
const mostColours = 256

// apart is the least distance of a rare colour from all others in the table, so that one that differs
// has a place beside the many shades of the edges of letters. A colour is rare below one pixel in
// rareOf.
const (
	apart  = 14
	rareOf = 2000
)

// compress makes a PNG smaller: it keeps frequent colours, and rare ones that are apart, and
// replaces others by the nearest of them. A page has few colours, except at the edges of its letters.
func compress(picture []byte) ([]byte, error) {
	shown, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, err
	}
	at := shown.Bounds()
	count := make(map[color.Color]int)
	for y := at.Min.Y; y < at.Max.Y; y++ {
		for x := at.Min.X; x < at.Max.X; x++ {
			count[shown.At(x, y)]++
		}
	}
	palette := table(count, at.Dx()*at.Dy()/rareOf)
	index := make(map[color.Color]uint8, len(count))
	for c := range count {
		index[c] = uint8(palette.Index(c))
	}
	small := image.NewPaletted(at, palette)
	for y := at.Min.Y; y < at.Max.Y; y++ {
		for x := at.Min.X; x < at.Max.X; x++ {
			small.SetColorIndex(x, y, index[shown.At(x, y)])
		}
	}
	var b bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, small)
	return b.Bytes(), err
}

// table returns the colours to keep, from the number of pixels of each colour. Colours of fewer than
// rare pixels have to be apart.
func table(count map[color.Color]int, rare int) (palette color.Palette) {
	byCount := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(luminance(a), luminance(b)))
	})
	for _, c := range byCount {
		if len(palette) < mostColours && (len(palette) == 0 || count[c] > rare || distance(c, palette.Convert(c)) >= apart) {
			palette = append(palette, c)
		}
	}
	return palette
}

// distance is the largest difference of a channel, of 255.
func distance(a, b color.Color) int {
	r1, g1, b1, _ := a.RGBA()
	r2, g2, b2, _ := b.RGBA()
	channel := func(x, y uint32) int { return int(max(x, y)-min(x, y)) >> 8 }
	return max(channel(r1, r2), channel(g1, g2), channel(b1, b2))
}

// luminance orders colours that are equally frequent.
func luminance(c color.Color) uint32 {
	r, g, b, _ := c.RGBA()
	return r<<1 + g<<2 + b
}
