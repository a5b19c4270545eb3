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

// compress makes a PNG smaller: it keeps the most frequent colours, and replaces others by the
// nearest of them. A page has few colours, apart from the edges of its letters.
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
	byCount := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(luminance(a), luminance(b)))
	})
	palette := color.Palette(byCount[:min(mostColours, len(byCount))])
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

// luminance orders colours that are equally frequent.
func luminance(c color.Color) uint32 {
	r, g, b, _ := c.RGBA()
	return r<<1 + g<<2 + b
}
