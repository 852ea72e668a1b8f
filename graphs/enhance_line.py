"""The stages of enhancing as a graph, one after the other (Fooocus behaviour §5.8)."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from graphs.builder import GraphBuilder, Link, Node
from graphs.catalog import Catalog, native_px
from graphs.enhance_choice import AFTER, BEFORE, LAST_FILLED, Plan
from graphs.geometry import diffused_size, goes_direct, upscaled_size, varied_size
from graphs.images import ImageText, image_text
from graphs.inpaint_choice import chosen_inpaint
from graphs.inpaint_engine import Engine, engine_until, installed_engine
from graphs.masks import find_mask
from graphs.metadata_own import of_batch
from graphs.model import base_model
from graphs.repainting import area_of, lacks_upscaler, latent_of, pasted, sized, with_engine
from graphs.request import GenerationRequest
from graphs.request_parts import Enhance, EnhanceStage
from graphs.resolve import Generation, resolve
from graphs.sampling import encode_prompts, sample
from graphs.save import ImagePlan, save, save_plain
from graphs.uov import DISABLED, Upscale, Vary, chosen
from graphs.upscale import DECODE_OVERLAP_PX, ENCODE_OVERLAP_PX, TILE_PX, enlarge, installed_upscaler


class Picture(Struct, frozen=True):
    """A picture on its way through the stages. height, width: as far as they are known before the run.

    place: in the batch of the flow that made it.
    """

    image: Node | Link
    height: int
    width: int
    place: int = 0


class Pass(Struct, frozen=True):
    """What one pass made. saved: the picture to save, none of it where the pass was left out at run time. mask: of a
    stage, what it repainted. upto: all that was done by then."""

    picture: Picture
    saved: Node | Link
    text: ImageText
    generation: Generation
    upto: Enhance
    mask: Node | None = None


class Line:
    """The stages of a request, in order, for one picture after the other."""

    def __init__(
        self, g: GraphBuilder, request: GenerationRequest, plan: Plan, catalog: Catalog, warnings: list[str]
    ) -> None:
        self.g = g
        assert request.enhance is not None
        self.whole = request
        self.enhance = replace(request.enhance, save_final_only=True, show_masks=False)
        self.request = replace(request, image_number=1, first_image=0)  # every pass has the job's seed and words
        self.plan = plan
        self.catalog = catalog
        self.warnings = warnings
        self.generation = self._resolved(self.request)

    def run(self, pictures: Sequence[Picture], first_index: int) -> list[ImagePlan]:
        """Add the passes of every picture and what saves them."""
        plans: list[ImagePlan] = []
        for picture in pictures:
            passes = self._passes(picture)
            for made in passes:
                if self.plan.show_masks and made.mask is not None:
                    shown = self.g.MaskToImage(mask=made.mask)
                    plans.append(save_plain(self.g, shown, made.generation, first_index + len(plans)))
                if self.plan.final_only and made is not passes[-1]:
                    continue
                image = made.picture.image if self.plan.final_only else made.saved
                text = replace(made.text, index=first_index + len(plans))
                again = of_batch(replace(self.whole, enhance=made.upto), made.picture.place, self.catalog)
                plans.append(save(self.g, image, text, made.generation, self.catalog, again))
        return plans

    def _passes(self, picture: Picture) -> list[Pass]:
        passes: list[Pass] = []
        if self.plan.method is not None and self.plan.order == BEFORE:
            upto = replace(self.enhance, stages=())
            passes.append(self._vary_or_upscale(self.plan.method, picture, self.request, upto))
        for number, stage in self.plan.stages:
            passes.append(self._stage(number, stage, passes[-1].picture if passes else picture))
        if self.plan.method is not None and self.plan.order == AFTER:
            request = self.request
            if self.plan.prompt_type == LAST_FILLED:
                request = self._with_last_filled(request)
            last = passes[-1].picture if passes else picture
            passes.append(self._vary_or_upscale(self.plan.method, last, request, self.enhance))
        return passes

    def _with_last_filled(self, request: GenerationRequest) -> GenerationRequest:
        for _, stage in self.plan.stages:
            request = _worded(request, stage)
        return request

    def _resolved(self, request: GenerationRequest) -> Generation:
        """Settle a request, telling each warning once."""
        generation, found = resolve(request, self.catalog)
        self.warnings += [warning for warning in found if warning not in self.warnings]
        return generation

    def _stage(self, number: int, stage: EnhanceStage, picture: Picture) -> Pass:
        """Find a mask in a picture and repaint it; where nothing is found, nothing is sampled."""
        g, catalog = self.g, self.catalog
        generation = self._resolved(_worded(self.request, stage))
        if lacks_upscaler(picture.height, picture.width, stage.respective_field, generation.checkpoint, catalog):
            self._warn("No upscaler is installed: a small area is enlarged without one.")
        field = f"enhance.stages.{number}.masking"
        found = find_mask(g, picture.image, stage.masking, catalog, field, generation.checkpoint)
        mask = g.AssembleMask(
            image=picture.image,
            mask_image=g.MaskToImage(mask=found.mask),
            erode_or_dilate=stage.erode_or_dilate,
            invert=stage.invert_mask,
        )
        area = area_of(
            g,
            picture.image,
            mask,
            respective_field=stage.respective_field,
            strength=stage.strength,
            checkpoint=generation.checkpoint,
            catalog=catalog,
        )
        base = base_model(g, generation, stage.strength)
        engine = self._engine(stage.engine, generation)
        base = with_engine(g, base, area, engine, engine_until(generation) if self._main_has_engine() else 1.0)
        text = image_text(generation, catalog, 0)
        positive, negative = encode_prompts(g, base, text, generation)
        latent = latent_of(g, base, area, stage.disable_initial_latent)
        sampled = sample(g, base, positive, negative, latent, text.seed, generation, denoise=stage.strength)
        counted = {} if found.count is None else {"count": found.count}
        taken = g.TakeIfMasked(original=picture.image, mask=mask, changed=pasted(g, base, area, sampled), **counted)
        generation = sized(generation, picture.height, picture.width, stage.respective_field, catalog)
        upto = replace(self.enhance, stages=self.enhance.stages[: number + 1])
        if self.plan.order != BEFORE:
            upto = replace(upto, uov_method=DISABLED)
        return Pass(replace(picture, image=taken), taken[1], text, generation, upto, mask)

    def _engine(self, asked: str | None, generation: Generation) -> Engine | None:
        warnings: list[str] = []
        engine = installed_engine(asked, generation.default_engine, generation.checkpoint, self.catalog, warnings)
        for warning in warnings:
            self._warn(warning)
        return engine

    def _main_has_engine(self) -> bool:
        """Whether the job repaints with an engine that gives the end to the plain model; stages then do likewise."""
        request = self.request
        if request.inpaint is None or self.enhance.image is not None or chosen(request) is not None:
            return False
        repaints = chosen_inpaint(request, []) is not None
        return repaints and self._engine(request.inpaint.engine, self.generation) is not None

    def _vary_or_upscale(
        self, method: Vary | Upscale, picture: Picture, request: GenerationRequest, upto: Enhance
    ) -> Pass:
        generation = self._resolved(request)
        if isinstance(method, Vary):
            return self._vary(method, picture, generation, upto)
        return self._upscale(method, picture, generation, upto)

    def _vary(self, method: Vary, picture: Picture, generation: Generation, upto: Enhance) -> Pass:
        g, base_px = self.g, native_px(generation.checkpoint)
        height, width = varied_size(picture.height, picture.width, base_px)
        generation = replace(generation, height=height, width=width)
        base = base_model(g, generation, method.strength)
        text = image_text(generation, self.catalog, 0)
        positive, negative = encode_prompts(g, base, text, generation)
        latent = g.VAEEncode(pixels=g.FitForVary(image=picture.image, base_size=base_px), vae=base.vae)
        sampled = sample(g, base, positive, negative, latent, text.seed, generation, denoise=method.strength)
        image = g.VAEDecode(samples=sampled, vae=base.decoder)
        return Pass(Picture(image, height, width, picture.place), image, text, generation, upto)

    def _upscale(self, method: Upscale, picture: Picture, generation: Generation, upto: Enhance) -> Pass:
        g, base_px = self.g, native_px(generation.checkpoint)
        upscaler = installed_upscaler(self.catalog, generation.checkpoint, "enhance.uov_method")
        fitted = enlarge(g, picture.image, upscaler, method.factor, base_px)
        text = image_text(generation, self.catalog, 0)
        size = picture.height, picture.width, method.factor, base_px
        if method.fast or goes_direct(*size):
            height, width = upscaled_size(*size)
            generation = replace(generation, height=height, width=width)
            return Pass(Picture(fitted, height, width, picture.place), fitted, text, generation, upto)
        height, width = diffused_size(*size)
        generation = replace(generation.upscaling(), height=height, width=width)
        base = base_model(g, generation, method.strength)
        positive, negative = encode_prompts(g, base, text, generation)
        latent = g.VAEEncodeTiled(pixels=fitted, vae=base.vae, tile_size=TILE_PX, overlap=ENCODE_OVERLAP_PX)
        sampled = sample(g, base, positive, negative, latent, text.seed, generation, denoise=method.strength)
        image = g.VAEDecodeTiled(samples=sampled, vae=base.decoder, tile_size=TILE_PX, overlap=DECODE_OVERLAP_PX)
        return Pass(Picture(image, height, width, picture.place), image, text, generation, upto)

    def _warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)


def _worded(request: GenerationRequest, stage: EnhanceStage) -> GenerationRequest:
    """The request with the words of a stage where it has any."""
    if stage.prompt.strip():
        request = replace(request, prompt=stage.prompt)
    if stage.negative_prompt.strip():
        request = replace(request, negative_prompt=stage.negative_prompt)
    return request
