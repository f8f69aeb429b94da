from sightline.decoding.beam import beam_search as beam_search
from sightline.decoding.greedy import greedy as greedy
from sightline.decoding.protocol import Decodable as Decodable
from sightline.decoding.protocol import DecodingSettings as DecodingSettings
from sightline.decoding.protocol import Hypothesis as Hypothesis
from sightline.decoding.protocol import State as State
from sightline.decoding.scoring import score as score
