package main

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"testing"
)

// TestCompress: a rare colour stays what it is among thousands of shades of other ones, and no pixel
// changes visibly.
func TestCompress(t *testing.T) {
	const side = 256
	picture := image.NewNRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			picture.SetNRGBA(x, y, color.NRGBA{R: 180, G: uint8(x / 2), B: uint8(y / 2), A: 255})
		}
	}
	card := color.NRGBA{R: 180, G: 3, B: 7, A: 255} // near others, and frequent
	for x := range side {
		picture.SetNRGBA(x, 0, card)
	}
	rare := color.NRGBA{R: 20, G: 90, B: 250, A: 255}
	picture.SetNRGBA(7, 9, rare)
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	small, err := compress(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := png.Decode(bytes.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.ColorModel().(color.Palette); !ok || got.Bounds() != picture.Bounds() {
		t.Errorf("a %T of %v", got.ColorModel(), got.Bounds())
	}
	if c := color.NRGBAModel.Convert(got.At(7, 9)); c != rare {
		t.Errorf("the rare colour is %v", c)
	}
	if c := color.NRGBAModel.Convert(got.At(7, 0)); c != card {
		t.Errorf("the frequent colour is %v", c)
	}
	for y := range side {
		for x := range side {
			if d := distance(got.At(x, y), picture.At(x, y)); d > 2*apart {
				t.Fatalf("pixel %d, %d differs by %d", x, y, d)
			}
		}
	}
	if _, err := compress([]byte("no picture")); err == nil {
		t.Error("what is no PNG is compressed")
	}
}
