"""Our side of the contests, through the public interface."""
